//! Who we are: tokens that are replaced, programs that give them, and what must never be told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

const SECRET: &str = "canary-4711";

fn kubeconfig(directory: &Path, server: &Server, user: &str) -> KubernetesConfig {
    let path = directory.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: \"{}\"}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {user}}}]\n",
        server.url()
    );
    fs::write(&path, text).expect("write");
    KubernetesConfig { kubeconfig: Some(path), master: None, qps: 0.0, burst: 1 }
}

async fn open(config: &KubernetesConfig) -> Stage {
    let source = Kubernetes::open_with(config, None, LIMITS).await.expect("open");
    Stage { source, held: BTreeMap::new(), deletions: 0 }
}

fn last_token(server: &Server) -> Option<String> {
    server.requests().last().and_then(|request| request.authorization.clone())
}

#[tokio::test]
async fn a_token_from_a_file_is_read_again_when_it_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start().expect("a port");
    put_service(&server, 1, 0);
    let token = directory.path().join("token");
    fs::write(&token, format!("{SECRET}-1\n")).expect("write");
    // A fixed token beside the file is the older one.
    let user = format!("{{token: {SECRET}-0, tokenFile: \"{}\"}}", token.display());
    let mut stage = open(&kubeconfig(directory.path(), &server, &user)).await;
    stage.until("the lists", |stage| stage.source.is_synced()).await;
    assert_eq!(last_token(&server), Some(format!("Bearer {SECRET}-1")), "without the line's end");
    fs::write(&token, format!("{SECRET}-2")).expect("write");
    fault(&server, For::Watch, Fault::Status(401, None));
    server.break_watches(fairlead_conformance::scripted::Break::End);
    put_service(&server, 2, 0);
    stage.same(&server).await;
    assert_eq!(last_token(&server), Some(format!("Bearer {SECRET}-2")));
}

#[tokio::test]
async fn a_program_gives_a_token_and_is_asked_again_when_it_no_longer_holds() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start().expect("a port");
    put_service(&server, 1, 0);
    let program = directory.path().join("credentials");
    let script = |token: &str| {
        format!(
            "#!/bin/sh\necho '{{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", \
             \"status\": {{\"token\": \"{token}\"}}}}'\n"
        )
    };
    let write = |text: &str| {
        // By rename: a program that runs cannot be written.
        let new = directory.path().join("new");
        fs::write(&new, text).expect("write");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::rename(&new, &program).expect("rename");
    };
    write(&script(&format!("{SECRET}-1")));
    let user = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: \"{}\", interactiveMode: IfAvailable}}}}",
        program.display()
    );
    let mut stage = open(&kubeconfig(directory.path(), &server, &user)).await;
    stage.until("the lists", |stage| stage.source.is_synced()).await;
    assert_eq!(last_token(&server), Some(format!("Bearer {SECRET}-1")));
    write(&script(&format!("{SECRET}-2")));
    for _ in 0..4 {
        fault(&server, For::Watch, Fault::Status(401, None));
    }
    server.break_watches(fairlead_conformance::scripted::Break::End);
    put_service(&server, 2, 0);
    stage.same(&server).await;
    assert_eq!(last_token(&server), Some(format!("Bearer {SECRET}-2")));
}

#[tokio::test]
async fn credentials_that_fail_are_told_without_a_word_of_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start().expect("a port");
    let leaks =
        format!("sh, args: [-c, \"echo {SECRET}; echo {SECRET} >&2; exit 7\"], env: [{{name: A, value: {SECRET}}}]");
    let prose = format!("sh, args: [-c, \"echo '{{token: {SECRET}'\"]");
    for (user, expected) in [
        (format!("{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {leaks}}}}}"), "exit status: 7"),
        (format!("{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {prose}}}}}"), "does not print"),
        (
            "{exec: {apiVersion: client.authentication.k8s.io/v1, command: /nowhere/at/all}}".to_owned(),
            "cannot be started",
        ),
        ("{tokenFile: /nowhere/at/all}".to_owned(), "/nowhere/at/all"),
        (format!("{{client-certificate-data: {SECRET}, client-key-data: {SECRET}}}"), ""),
    ] {
        let config = kubeconfig(directory.path(), &server, &user);
        let mut stage = open(&config).await;
        stage.until("a line", |stage| !stage.problems().is_empty()).await;
        let told = stage.problems().join("\n");
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains(SECRET) && !format!("{:?}", stage.source).contains(SECRET), "{told}");
    }
    assert_eq!(server.requests(), [], "nothing is asked without credentials");
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_meant_is_refused_without_a_word_of_what_is_in_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("kubeconfig");
    let config = KubernetesConfig { kubeconfig: Some(path.clone()), master: None, qps: 0.0, burst: 1 };
    for (text, expected) in [
        (format!("users: [{{name: u, user: {{token: [{SECRET}}}]"), "line "),
        (format!("users: {SECRET}"), "line 1, column "),
        ("apiVersion: v1\nkind: Config\n".to_owned(), "current-context is not set"),
        (
            "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\n\
             clusters: [{name: c, cluster: {server: \"http://h\", proxy-url: \"http://p\"}}]\n"
                .to_owned(),
            "proxy-url is not supported",
        ),
    ] {
        fs::write(&path, text).expect("write");
        let error = Kubernetes::open_with(&config, None, LIMITS).await.expect_err("refused").to_string();
        assert!(error.contains(expected) && error.contains("kubeconfig"), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    let master = KubernetesConfig { kubeconfig: None, master: Some("ftp://x".to_owned()), qps: 0.0, burst: 1 };
    let error = Kubernetes::open_with(&master, None, LIMITS).await.expect_err("refused").to_string();
    assert!(error.contains("--master"), "{error}");
}
