//! TLS with certificates of our own: `cargo test --lib tls_tests -- --ignored`, with `openssl`.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
};

use jiff::Timestamp;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::*;
use crate::{
    api::v1alpha1::Duration as Length, prometheus::provider::Settings, rollout::question::Indicator,
};

fn openssl(directory: &Path, arguments: &str) {
    let run = Command::new("openssl").args(arguments.split_whitespace()).current_dir(directory).output();
    let run = run.expect("openssl to make certificates with");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// `ca.pem`, and `leaf.pem` with `leaf.key` for localhost; `other.pem` is an authority that signed nothing.
fn certificates(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("san"), "subjectAltName=DNS:localhost\n").unwrap();
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for name in ["ca", "other"] {
        openssl(
            directory,
            &format!("req -x509 {new_key} -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"),
        );
    }
    openssl(directory, &format!("req {new_key} -subj /CN=localhost -keyout leaf.key -out leaf.csr"));
    openssl(
        directory,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out leaf.pem",
    );
}

/// Answers every request over TLS with the same sound answer, on a thread that ends with the test's process.
fn serve(directory: &Path) -> u16 {
    let chain =
        CertificateDer::pem_file_iter(directory.join("leaf.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(directory.join("leaf.key")).unwrap();
    let config =
        Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            if tls.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                let body = r#"{"status":"success","data":{"resultType":"scalar","result":[0,"2"]}}"#;
                let _ = write!(
                    tls,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        }
    });
    port
}

async fn asked(url: &str, ca_file: Option<PathBuf>) -> Result<Answer, Unanswered> {
    let endpoint = Endpoint { url: url.to_owned(), bearer_token_file: None, ca_file };
    let settings = Settings {
        metrics: "contour".to_owned(),
        revision_label: None,
        scrape_interval: Length::from_secs(1),
        propagation: Length::default(),
    };
    let question = Question {
        provider: "default".to_owned(),
        namespace: "ml".to_owned(),
        candidate: "new".to_owned(),
        stable: None,
        indicator: Indicator::Query { query: "2".to_owned() },
        from: Timestamp::UNIX_EPOCH,
        until: Timestamp::UNIX_EPOCH,
    };
    let transport = connect(&endpoint, Limits::default()).unwrap();
    ask(&transport, &Provider::new("default", &settings).unwrap(), &question).await
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn only_a_certificate_of_the_given_authority_and_name_is_trusted() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = std::env::temp_dir().join(format!("seatrial-tls-{}", std::process::id()));
    certificates(&directory);
    let port = serve(&directory);
    let (right, wrong_name) = (format!("https://localhost:{port}"), format!("https://127.0.0.1:{port}"));
    let ca = |name: &str| Some(directory.join(name));

    assert_eq!(asked(&right, ca("ca.pem")).await.unwrap(), Answer::Value(2.0));
    for (url, file) in [(&right, ca("other.pem")), (&right, None), (&wrong_name, ca("ca.pem"))] {
        let unanswered = asked(url, file).await.unwrap_err();
        assert_eq!(unanswered.reason, "Tls", "{unanswered}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
