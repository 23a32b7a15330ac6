//! TLS, passwords, and keys that are not ours.

use std::{path::Path, process::Command};

use super::*;

fn openssl(dir: &Path, args: &[&str]) {
    let output = Command::new("openssl").current_dir(dir).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// An authority, and what it certifies `name` by, as PEM files in `dir`.
fn certify(dir: &Path, name: &str) {
    let subject = format!("/CN={name}");
    if !dir.join("ca.pem").exists() {
        let ca =
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem";
        openssl(dir, &ca.split(' ').collect::<Vec<_>>());
    }
    let (key, csr, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
    let request =
        ["req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out", &csr];
    openssl(dir, &request);
    std::fs::write(
        dir.join("ext"),
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .unwrap();
    let sign = [
        "x509",
        "-req",
        "-days",
        "2",
        "-CAcreateserial",
        "-in",
        &csr,
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-extfile",
        "ext",
        "-out",
        &pem,
    ];
    openssl(dir, &sign);
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

/// An etcd that believes clients by their certificates alone.
fn etcd_with_tls() -> (tempfile::TempDir, Etcd) {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path(), "server");
    certify(dir.path(), "client");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let further = [
        "--cert-file".to_owned(),
        file("server.pem"),
        "--key-file".to_owned(),
        file("server.key"),
        "--client-cert-auth".to_owned(),
        "--trusted-ca-file".to_owned(),
        file("ca.pem"),
    ];
    let etcd = Etcd::with(1, "https", &further);
    (dir, etcd)
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides() {
    let (dir, etcd) = tokio::task::spawn_blocking(etcd_with_tls).await.unwrap();
    let identity = (read(dir.path(), "client.pem"), Secret::new(read(dir.path(), "client.key")));
    let trusted =
        TlsConfig { ca_pem: Some(read(dir.path(), "ca.pem")), identity_pem: Some(identity) };
    let config = config(etcd.endpoints(), MemoryConfig::default());
    let engine = connected(EtcdConfig { tls: Some(trusted.clone()), ..config.clone() }).await;
    engine.register_node(wide_node("n")).await.unwrap();
    engine.allocate_port(of("a")).await.unwrap();
    for (name, tls) in [
        ("no certificate of ours", TlsConfig { identity_pem: None, ..trusted.clone() }),
        ("an authority that we do not know", TlsConfig { ca_pem: None, ..trusted.clone() }),
    ] {
        let refused = EtcdEngine::new(EtcdConfig { tls: Some(tls), ..config.clone() });
        let error = refused.connected(Duration::from_secs(2)).await.unwrap_err();
        println!("{name}: {error}");
        assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
    }
    // The key is not shown.
    let text = format!("{trusted:?}");
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}

#[tokio::test]
async fn a_user_with_a_password() {
    let etcd = start_etcd(1).await;
    let root = "--user=root:secret";
    etcd.ctl(&["user", "add", "root:secret"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["user", "add", "gateway:pass"]);
    etcd.ctl(&["role", "add", "registry"]);
    etcd.ctl(&["role", "grant-permission", "registry", "--prefix=true", "readwrite", "/test/"]);
    etcd.ctl(&["user", "grant-role", "gateway", "registry"]);
    etcd.ctl(&["auth", "enable"]);
    assert!(etcd.ctl(&[root, "user", "list"]).contains("gateway"));

    let config = config(etcd.endpoints(), MemoryConfig::default());
    let user = |password: &str| Some(("gateway".to_owned(), Secret::new(password.to_owned())));
    let engine = connected(EtcdConfig { user: user("pass"), ..config.clone() }).await;
    engine.register_node(wide_node("n")).await.unwrap();
    engine.allocate_port(of("a")).await.unwrap();
    for user in [user("wrong"), None] {
        let refused = EtcdEngine::new(EtcdConfig { user, ..config.clone() });
        let error = refused.connected(Duration::from_secs(2)).await.unwrap_err().to_string();
        println!("{error}");
        assert!(!error.contains("wrong"), "{error}");
    }
}

#[tokio::test]
async fn keys_that_are_not_ours_are_passed_over() {
    let etcd = start_etcd(1).await;
    let engine = engines(&etcd, 1, MemoryConfig::default()).await.pop().unwrap();
    let prefix = &engine.shared.config.prefix;
    for (key, value) in [
        ("strange", "x"),
        ("nodes/m", "not JSON"),
        ("nodes/k", "{\"rtp_address\":\"nowhere\"}"),
        ("streams/a", "{}"),
        ("legs/a:n", "{\"lease_id\":\"x\",\"rtp_port\":6000,\"rtp_address\":\"127.0.0.1\"}"),
    ] {
        etcd.ctl(&["put", &format!("{prefix}{key}"), value]);
    }
    engine.register_node(wide_node("n")).await.unwrap();
    let granted = engine.allocate_port(of("b")).await.unwrap();
    assert_eq!(engine.list_nodes().await.unwrap().len(), 1);
    assert_eq!(engine.list_leases().await.unwrap(), [granted.lease]);
}
