//! Certificates of one lab: an authority, the API server's own, and a client's. Made anew each time; they are worth nothing
//! outside the lab.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// PEM files in one directory. Keys are ECDSA P-256 in PKCS #8.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate: what a client trusts.
    pub authority: PathBuf,
    /// The server's certificate, for the addresses it was made for and `localhost`.
    pub server: PathBuf,
    /// The server's key.
    pub server_key: PathBuf,
    /// A client's certificate: user `admin` of group `system:masters`.
    pub client: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
    /// A key that signs tokens of service accounts.
    pub token_key: PathBuf,
    /// What such a token is checked with.
    pub token_public: PathBuf,
}

impl Certificates {
    /// Writes them into `dir`, which is made.
    pub fn make(dir: &Path, server_addresses: &[IpAddr]) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("make directory {}", dir.display()))?;
        let file = |name: &str| dir.join(name);
        let made = Self {
            authority: file("authority.pem"),
            server: file("server.pem"),
            server_key: file("server.key"),
            client: file("client.pem"),
            client_key: file("client.key"),
            token_key: file("token.key"),
            token_public: file("token.pub"),
        };
        let issuer = authority().context("make the lab's authority")?;
        write(&made.authority, &issuer.pem())?;

        let names = std::iter::once("localhost".to_owned()).chain(server_addresses.iter().map(IpAddr::to_string));
        let mut server = CertificateParams::new(names.collect::<Vec<_>>()).context("name the server")?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        issue(&issuer, &server, (&made.server, &made.server_key))?;

        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "admin");
        client.distinguished_name.push(DnType::OrganizationName, "system:masters");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        issue(&issuer, &client, (&made.client, &made.client_key))?;

        let key = KeyPair::generate().context("make a key")?;
        write(&made.token_key, &key.serialize_pem())?;
        write(&made.token_public, &key.public_key_pem())?;
        Ok(made)
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "the lab's authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn issue(issuer: &CertifiedIssuer<'_, KeyPair>, params: &CertificateParams, files: (&Path, &Path)) -> Result<()> {
    let key = KeyPair::generate().context("make a key")?;
    let certificate = params.signed_by(&key, issuer).context("sign a certificate")?;
    write(files.0, &certificate.pem())?;
    write(files.1, &key.serialize_pem())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
