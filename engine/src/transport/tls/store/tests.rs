use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::testing::Authority;

/// A directory of one test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("engine-store-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// With the certificate of an authority of its own.
    fn authority(&self, name: &str) -> PathBuf {
        self.file(name, Authority::named(name).pem)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}

async fn load(
    file: Option<&Path>,
    directory: Option<&Path>,
    extra_file: Option<&Path>,
) -> Result<Arc<RootCertStore>> {
    store(&Roots::System(SystemStore {
        file: file.map(Path::to_owned),
        directory: directory.map(Path::to_owned),
        extra_file: extra_file.map(Path::to_owned),
    }))
    .await
}

#[tokio::test]
async fn ssl_cert_file_takes_the_place_of_the_systems_store() {
    let scratch = Scratch::new();
    let file = scratch.authority("one");
    assert_eq!(load(Some(&file), None, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn all_files_of_ssl_cert_dir_count() {
    let scratch = Scratch::new();
    scratch.authority("one.pem");
    scratch.authority("0a1b2c3d.0");
    scratch.file("README", "nothing of the kind");
    let roots = load(None, Some(&scratch.0), None).await.unwrap();
    assert_eq!(roots.len(), 2);
}

/// As OpenSSL reads it.
#[tokio::test]
async fn ssl_cert_dir_may_hold_several_directories() {
    let (first, second) = (Scratch::new(), Scratch::new());
    first.authority("one");
    second.authority("two");
    let list = std::env::join_paths([&first.0, &second.0]).unwrap();
    let roots = load(None, Some(Path::new(&list)), None).await.unwrap();
    assert_eq!(roots.len(), 2);
}

#[tokio::test]
async fn file_and_directory_count_together() {
    let (first, second) = (Scratch::new(), Scratch::new());
    let file = first.authority("one");
    second.authority("two");
    let roots = load(Some(&file), Some(&second.0), None).await.unwrap();
    assert_eq!(roots.len(), 2);
}

#[tokio::test]
async fn node_extra_ca_certs_adds_to_what_is_there() {
    let scratch = Scratch::new();
    let file = scratch.authority("one");
    let extra = [Authority::named("two").pem, Authority::named("three").pem].concat();
    let extra = scratch.file("extra", extra);
    let roots = load(Some(&file), None, Some(&extra)).await.unwrap();
    assert_eq!(roots.len(), 3);
}

#[tokio::test]
async fn node_extra_ca_certs_adds_to_the_systems_store() {
    let scratch = Scratch::new();
    let extra = scratch.authority("extra");
    let system = load(None, None, None).await.unwrap().len();
    assert!(system > 0);
    let roots = load(None, None, Some(&extra)).await.unwrap();
    assert_eq!(roots.len(), system + 1);
}

#[tokio::test]
async fn an_extra_file_that_cannot_be_read_is_ignored() {
    let scratch = Scratch::new();
    let file = scratch.authority("one");
    let garbage = scratch.file("garbage", [0xff; 100]);
    for extra in [scratch.0.join("missing"), scratch.0.clone(), garbage] {
        let roots = load(Some(&file), None, Some(&extra)).await.unwrap();
        assert_eq!(roots.len(), 1, "{extra:?}");
    }
}

#[tokio::test]
async fn a_moved_store_without_a_certificate_is_an_error_that_names_the_variables() {
    let scratch = Scratch::new();
    let extra = scratch.authority("extra");
    let empty = scratch.file("empty", "");
    let text = scratch.file("text", "nothing of the kind");
    for file in [scratch.0.join("missing"), empty, text] {
        let failure = load(Some(&file), None, Some(&extra)).await.unwrap_err();
        assert_eq!(failure.code(), Code::TlsCertificate, "{failure:?}");
        assert!(failure.message().contains("SSL_CERT_FILE"), "{failure:?}");
        assert!(failure.hint().contains("tls.ca"), "{failure:?}");
    }
}

/// The variable may point at a file with a key in it.
#[tokio::test]
async fn a_file_that_is_no_valid_pem_is_not_quoted() {
    let scratch = Scratch::new();
    let file = scratch.file("line", "-----BEGIN PRIVATE KEY----- s3cr3t");
    let failure = load(Some(&file), None, None).await.unwrap_err();
    // Neither as text nor as bytes.
    assert!(!format!("{failure:?}").contains("s3cr3t"), "{failure:?}");
    assert!(!format!("{failure:?}").contains("115, 51"), "{failure:?}");
}

#[tokio::test]
async fn what_cannot_be_parsed_does_not_spoil_the_rest() {
    let scratch = Scratch::new();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let file = scratch.file("mixed", [broken, &Authority::new().pem].concat());
    assert_eq!(load(Some(&file), None, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_store_is_read_once() {
    let scratch = Scratch::new();
    let file = scratch.authority("one");
    let first = load(Some(&file), None, None).await.unwrap();
    fs::remove_file(&file).unwrap();
    let second = load(Some(&file), None, None).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn a_store_that_could_not_be_read_is_read_again() {
    let scratch = Scratch::new();
    let file = scratch.0.join("late");
    assert!(load(Some(&file), None, None).await.is_err());
    scratch.authority("late");
    assert_eq!(load(Some(&file), None, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn tls_ca_alone_is_trusted_where_it_is_given() {
    let certificate = CertificateDer::from_pem_slice(Authority::new().pem.as_bytes()).unwrap();
    let roots = store(&Roots::Only([certificate].into())).await.unwrap();
    assert_eq!(roots.len(), 1);
}
