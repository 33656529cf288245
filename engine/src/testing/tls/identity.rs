use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{Authority, key};

/// A certificate with its key, and what stands between it and the root.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Authority {
    /// One that this one vouches for.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = key();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.chain.iter().cloned());
        Self {
            issuer: Issuer::new(params, key),
            chain,
            pem: certificate.pem(),
        }
    }

    /// For `localhost`, unless `change` says otherwise.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        self.issue_for(key(), change)
    }

    /// For a key in PKCS#8, PEM.
    pub fn issue_for_key(&self, pem: &str) -> Identity {
        self.issue_for(KeyPair::from_pem(pem).unwrap(), |_| {})
    }

    fn issue_for(&self, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.chain.iter().cloned());
        Identity { chain, key }
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
        Arc::new(roots)
    }
}

impl Identity {
    /// Vouched for by nobody else.
    pub fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = key();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            chain: vec![certificate.der().clone()],
            key,
        }
    }

    /// The chain, in PEM.
    pub fn cert(&self) -> Vec<u8> {
        let pem = |der| {
            let body = BASE64_STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        self.chain.iter().map(pem).collect::<String>().into_bytes()
    }

    /// The key in PKCS#8, PEM.
    pub fn key(&self) -> Vec<u8> {
        self.key.serialize_pem().into_bytes()
    }

    pub fn server_config(
        &self,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let mut config = builder(versions)
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified())));
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// Of a server that demands a certificate of `clients`.
    pub fn demanding_config(
        &self,
        clients: &Authority,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(clients.roots(), provider)
            .build()
            .unwrap();
        builder(versions)
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified())))
    }

    /// Whether chain and key belong together is not looked at: some tests want a server that lies.
    fn certified(&self) -> CertifiedKey {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let key = ring::sign::any_supported_type(&key).unwrap();
        CertifiedKey::new(self.chain.clone(), key)
    }
}

fn builder(
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
}
