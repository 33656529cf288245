//! A certificate authority of our own, and one certificate of it for `localhost`.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Result;

pub struct Certificate {
    authority: String,
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Certificate {
    pub fn new() -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "bench-sink authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut server = CertificateParams::new(["localhost".into(), "127.0.0.1".into()])?;
        server
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        Ok(Self {
            certificate: server.signed_by(&key, &authority)?,
            authority: authority.pem(),
            key,
        })
    }

    /// Writes what clients, and another server in our place, need.
    pub fn write(&self, directory: &Path) -> Result<()> {
        fs::write(directory.join("ca.pem"), &self.authority)?;
        fs::write(directory.join("server.pem"), self.certificate.pem())?;
        fs::write(directory.join("server.key"), self.key.serialize_pem())?;
        Ok(())
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    pub fn key(&self) -> Result<PrivateKeyDer<'static>> {
        Ok(PrivateKeyDer::try_from(self.key.serialize_der())?)
    }
}
