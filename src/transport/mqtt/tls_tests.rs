use super::*;
use rcgen::{CertificateParams, KeyPair};

struct Case {
    dir: tempfile::TempDir,
    certificate: String,
    key: KeyPair,
}

impl Case {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["slmd".into()]).expect("sound");
        let certificate = params.self_signed(&key).expect("signed").pem();
        Self { dir: tempfile::tempdir().expect("a directory"), certificate, key }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }

    /// What is said about these files, without the directory.
    fn load(&self, ca: &str, identity: Option<(&str, &str)>) -> Result<(), String> {
        let files = TlsFiles {
            ca: Some(self.file("ca", ca)),
            identity: identity.map(|(c, k)| (self.file("cert", c), self.file("key", k))),
        };
        let dir = format!("{}/", self.dir.path().display());
        Tls::load(&files).map(drop).map_err(|e| e.to_string().replace(&dir, ""))
    }
}

#[test]
fn several_certificates_and_every_form_of_key_are_read() {
    let case = Case::new();
    let (certificate, key) = (case.certificate.as_str(), case.key.serialize_pem());
    let two = format!("# comment\n{certificate}{certificate}");
    assert_eq!(case.load(&two, Some((certificate, &key))), Ok(()));
    // The same key as SEC1, with the curve's parameters before it as OpenSSL writes them.
    if let Some(sec1) = openssl(&key) {
        assert!(sec1.contains("BEGIN EC PRIVATE KEY"), "{sec1}");
        assert_eq!(case.load(&two, Some((certificate, &sec1))), Ok(()));
    }
}

fn openssl(key: &str) -> Option<String> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let child = Command::new("openssl")
        .args(["ec"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIP: no openssl");
        return None;
    };
    child.stdin.take()?.write_all(key.as_bytes()).ok()?;
    String::from_utf8(child.wait_with_output().ok()?.stdout).ok()
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let case = Case::new();
    let certificate = case.certificate.as_str();
    let key = case.key.serialize_pem();
    let other = KeyPair::generate().expect("a key").serialize_pem();
    let refused = |ca: &str, identity| case.load(ca, identity).expect_err("refused");
    assert_eq!(refused("", None), "ca: no PEM certificate in it");
    assert_eq!(refused(&key, None), "ca: no PEM certificate in it");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(refused(broken, None), "ca: none of its certificates can be read");
    let cut = &certificate[..certificate.len() / 2];
    assert!(refused(cut, None).starts_with("ca: "), "{}", refused(cut, None));
    assert_eq!(refused(certificate, Some((certificate, ""))), "key: no PEM private key in it");
    let swapped = refused(certificate, Some((certificate, &other)));
    assert_eq!(swapped, "key: not the key of the certificate cert");
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let encrypted = refused(certificate, Some((certificate, &encrypted)));
    assert!(encrypted.starts_with("key: the key is encrypted"), "{encrypted}");
    let absent = TlsFiles { ca: Some("/nowhere/ca.pem".into()), identity: None };
    let absent = Tls::load(&absent).expect_err("absent").to_string();
    assert!(absent.starts_with("/nowhere/ca.pem: No such file"), "{absent}");
}
