//! Trust stores, each made once for all configurations that use it.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_native_certs::{CertificateResult, ErrorKind, load_certs_from_paths};

use crate::{
    error::{Code, Failure, Result, Stage},
    options::{Roots, SystemStore},
    transport::in_flight::InFlight,
};

type Loaded = Result<Arc<RootCertStore>>;

/// The authorities to trust. The system's are read once, on a thread that may wait for the disk: where that hangs, it is
/// one thread, and not one for each attempt.
pub(super) async fn store(roots: &Roots) -> Loaded {
    static LOADING: LazyLock<InFlight<SystemStore, Loaded>> = LazyLock::new(InFlight::default);
    let system = match roots {
        Roots::Only(certificates) => return only(certificates).map(Arc::new),
        Roots::System(system) => system,
    };
    if let Some(store) = loaded().get(system) {
        return Ok(store.clone());
    }
    let read = system.clone();
    let load = async move {
        let key = read.clone();
        let store = tokio::task::spawn_blocking(move || read_system(&read))
            .await
            .map_err(|error| unreadable().with_cause(error))?
            .map(Arc::new)?;
        loaded().insert(key, store.clone());
        Ok(store)
    };
    let loading = LOADING.share(system.clone(), load).await;
    loading.unwrap_or_else(|| Err(unreadable()))
}

fn only(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate.clone()).map_err(|error| {
            let message = "a certificate of tls.ca or tls.caFile cannot be used as a trust anchor";
            Failure::option(message).with_cause(error)
        })?;
    }
    Ok(store)
}

/// Those that were read.
fn loaded() -> MutexGuard<'static, HashMap<SystemStore, Arc<RootCertStore>>> {
    static STORES: LazyLock<Mutex<HashMap<SystemStore, Arc<RootCertStore>>>> =
        LazyLock::new(Mutex::default);
    STORES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreadable() -> Failure {
    Failure::new(
        Code::Internal,
        Stage::Tls,
        "the system's trust store cannot be read",
    )
}

/// `directories` is a list of them, as OpenSSL reads it.
fn read_moved(file: Option<&Path>, directories: Option<&Path>) -> CertificateResult {
    let directories = directories.map(env::split_paths);
    let directories = directories.into_iter().flatten();
    read_paths(
        file,
        directories.filter(|directory| !directory.as_os_str().is_empty()),
    )
}

/// Where the platform has them. The host has looked at the environment.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn read_platform() -> CertificateResult {
    let found = openssl_probe::probe();
    read_paths(found.cert_file.as_deref(), found.cert_dir)
}

#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn read_platform() -> CertificateResult {
    rustls_native_certs::load_native_certs()
}

fn read_paths(
    file: Option<&Path>,
    directories: impl IntoIterator<Item = PathBuf>,
) -> CertificateResult {
    let mut all = load_certs_from_paths(file, None);
    for directory in directories {
        let found = load_certs_from_paths(None, Some(&directory));
        all.certs.extend(found.certs);
        all.errors.extend(found.errors);
    }
    all
}

/// Systems carry certificates that nobody can parse; the others still count.
fn read_system(system: &SystemStore) -> Result<RootCertStore> {
    let SystemStore {
        file,
        directory,
        extra_file,
    } = system;
    let moved = file.is_some() || directory.is_some();
    let CertificateResult { certs, errors, .. } = if moved {
        read_moved(file.as_deref(), directory.as_deref())
    } else {
        read_platform()
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certs);
    if store.is_empty() && moved {
        // Whoever moved the store meant to choose whom to trust: others are no substitute.
        let message = "no certificate can be read from where SSL_CERT_FILE and SSL_CERT_DIR point";
        let failure = Failure::new(Code::TlsCertificate, Stage::Tls, message)
            .with_hint("Correct or unset these variables, or give the authorities in tls.ca.");
        return Err(match errors.first() {
            // What a parser of PEM says quotes lines, and the file may hold a key.
            Some(error) if matches!(error.kind, ErrorKind::Pem(_)) => {
                failure.with_cause(error.context)
            }
            Some(error) => failure.with_cause(error),
            None => failure,
        });
    }
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(pem) = extra_file.as_ref().and_then(|path| fs::read(path).ok()) {
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    Ok(store)
}

#[cfg(test)]
mod tests;
