//! `http` and `https` against nginx, and `lvx genhash` against keepalived's genhash.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check_support;

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use check_support::{get, http, reason, run_in};
use lab::Host;
use lb_userspace::health::{FailureReason, Pass};
use lb_userspace::model::{
    BodyDigest, CheckKind, CheckTls, HttpCheck, HttpRequest, HttpVersion, Pattern, StatusSet,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

const PAGE: &str = "Everything works.\n";

/// nginx with plain HTTP on 8080, h2 on 8081, and TLS on 8443 (valid), 8444 (expired), 8445 (client certificate).
struct Web {
    host: Host,
    authorities: PathBuf,
    client: (PathBuf, PathBuf),
}

impl Web {
    fn start() -> Self {
        let mut host = Host::new().unwrap();
        let folder = host.folder();

        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "Authority of the test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let authorities = host.write("ca.pem", authority_certificate.pem()).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let certificate = |name: &str, names: &[&str], year: i32| {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut parameters = CertificateParams::new(names).unwrap();
            parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
            let signed = parameters.signed_by(&key, &issuer).unwrap();
            let chain = host.write(&format!("{name}.pem"), signed.pem()).unwrap();
            (chain, host.write(&format!("{name}.key"), key.serialize_pem()).unwrap())
        };
        certificate("valid", &["www.example", "127.0.0.1"], 2300);
        certificate("expired", &["www.example", "127.0.0.1"], 2001);
        let client = certificate("client", &["director.example"], 2300);

        host.write("page", PAGE).unwrap();
        host.write("big", vec![b'b'; 300_000]).unwrap();
        let folder = folder.display();
        let tls = |name: &str| {
            format!("ssl_certificate {folder}/{name}.pem; ssl_certificate_key {folder}/{name}.key;")
        };
        let (valid, expired) = (tls("valid"), tls("expired"));
        let configuration = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    root {folder};
    server {{
        listen 8080; listen [::]:8080 ipv6only=on;
        listen 8081 http2;
        listen 8443 ssl http2;
        server_name _;
        {valid}
        location = /echo {{ return 200 \"$request_method $http_host $http_x_a $server_protocol $connection $connection_requests\"; }}
        location = /broken {{ return 503; }}
        location = /moved {{ return 302 /page; }}
        location = /away {{ return 302 http://other.example/; }}
    }}
    server {{ listen 8080; server_name virtual.example; location / {{ return 200 \"virtual\"; }} }}
    server {{ listen 8444 ssl; {expired} }}
    server {{
        listen 8445 ssl; {valid}
        ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;
        location = /name {{ return 200 $ssl_client_verify; }}
    }}
}}
"
        );
        let file = host.write("nginx.conf", configuration).unwrap();
        let prefix = folder.to_string();
        let words = ["nginx", "-p", &prefix, "-e", "stderr", "-c", file.to_str().unwrap()];
        host.start("nginx-light", &words, || TcpStream::connect("127.0.0.1:8445").is_ok()).unwrap();
        Self { host, authorities, client }
    }

    fn run(&self, check: HttpCheck, endpoint: &str) -> lb_userspace::health::Outcome {
        run_in(self.host.namespace(), &CheckKind::Http(Box::new(check)), endpoint)
    }

    fn reason(&self, check: HttpCheck, endpoint: &str) -> FailureReason {
        reason(self.run(check, endpoint))
    }

    #[track_caller]
    fn passes(&self, check: HttpCheck, endpoint: &str) -> Pass {
        self.run(check, endpoint).unwrap_or_else(|failure| panic!("{failure}"))
    }
}

fn matching(path: &str, expression: &str) -> HttpRequest {
    HttpRequest { pattern: Some(Pattern { expression: expression.to_owned(), absent: false }), ..get(path) }
}

/// What a program of the system prints for a file, as bytes.
fn sum(web: &Web, program: &str) -> Vec<u8> {
    let file = web.host.folder().join("page");
    let printed = web.host.namespace().output(&[program, file.to_str().unwrap()]).unwrap();
    let text = String::from_utf8(printed).unwrap();
    let hex = text.split_whitespace().next().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn answers_of_nginx() {
    let web = Web::start();
    let plain = "127.0.0.1:8080";

    // Status.
    web.passes(http(vec![get("/page")]), plain);
    web.passes(http(vec![get("/page")]), "[::1]:8080");
    assert_eq!(web.reason(http(vec![get("/missing")]), plain), FailureReason::Status);
    assert_eq!(web.reason(http(vec![get("/page"), get("/broken")]), plain), FailureReason::Status);
    let status = StatusSet(vec![200..=200, 503..=503]);
    web.passes(http(vec![HttpRequest { status, ..get("/broken") }]), plain);

    // Digests, compared with those of coreutils.
    let md5: [u8; 16] = sum(&web, "md5sum").try_into().unwrap();
    let sha256: [u8; 32] = sum(&web, "sha256sum").try_into().unwrap();
    for digest in [BodyDigest::Md5(md5), BodyDigest::Sha256(sha256)] {
        web.passes(http(vec![HttpRequest { digest: Some(digest), ..get("/page") }]), plain);
        let other = HttpRequest { digest: Some(digest), ..get("/big") };
        assert_eq!(web.reason(http(vec![other]), plain), FailureReason::Digest);
    }

    // Patterns.
    web.passes(http(vec![matching("/page", "(?i)EVERYTHING w[a-z]+s")]), plain);
    assert_eq!(web.reason(http(vec![matching("/page", "^works")]), plain), FailureReason::Pattern);
    let absent = Some(Pattern { expression: "works".to_owned(), absent: true });
    let request = HttpRequest { pattern: absent, ..get("/page") };
    assert_eq!(web.reason(http(vec![request]), plain), FailureReason::Pattern);

    // Bound of the body.
    let bounded = |request| HttpCheck { max_body: 1000, ..http(vec![request]) };
    assert_eq!(web.reason(bounded(matching("/big", "b")), plain), FailureReason::TooLong);
    web.passes(bounded(get("/big")), plain);

    // Host, method, fields.
    let virtual_host = HttpRequest { host: Some("virtual.example".to_owned()), ..matching("/", "^virtual$") };
    web.passes(http(vec![virtual_host]), plain);
    let mut request = matching("/echo", "^PATCH 127.0.0.1:8080 b HTTP/1.1");
    request.method = "PATCH".to_owned();
    request.headers.push(("X-A".to_owned(), "b".to_owned()));
    web.passes(http(vec![request]), plain);
    web.passes(http(vec![HttpRequest { method: "HEAD".to_owned(), ..get("/page") }]), plain);

    // One connection for all requests, except with HTTP/1.0.
    let requests = || vec![get("/big"), get("/page"), matching("/echo", " 3$")];
    web.passes(http(requests()), plain);
    let old = HttpCheck { version: HttpVersion::Http10, ..http(requests()) };
    assert_eq!(web.reason(old, plain), FailureReason::Pattern);
    let old = HttpCheck { version: HttpVersion::Http10, ..http(vec![matching("/echo", "HTTP/1.0 .* 1$")]) };
    web.passes(old, plain);

    // Redirections.
    let follow = |path| http(vec![HttpRequest { max_redirects: 1, ..matching(path, "works") }]);
    web.passes(follow("/moved"), plain);
    assert_eq!(web.reason(follow("/away"), plain), FailureReason::Redirect);

    // HTTP/2 with prior knowledge, and not where nobody speaks it.
    let h2 = HttpCheck {
        version: HttpVersion::H2,
        ..http(vec![get("/big"), matching("/echo", "HTTP/2.0 "), get("/page")])
    };
    web.passes(h2.clone(), "127.0.0.1:8081");
    let found = web.reason(h2, plain);
    assert!(matches!(found, FailureReason::Protocol | FailureReason::Closed), "{found:?}");
}

#[test]
fn certificates() {
    let web = Web::start();
    let https = |tls: CheckTls| HttpCheck { tls: Some(tls), ..http(vec![get("/page")]) };
    let lenient = CheckTls::default();
    let strict = CheckTls { verify: true, authorities: Some(web.authorities.clone()), ..CheckTls::default() };
    let (valid, expired, asking) = ("127.0.0.1:8443", "127.0.0.1:8444", "127.0.0.1:8445");

    // Without verification every certificate will do.
    web.passes(https(lenient.clone()), valid);
    web.passes(https(lenient.clone()), expired);

    // With it: name, address, dates, authority.
    let named = |name: &str| CheckTls { server_name: Some(name.to_owned()), ..strict.clone() };
    web.passes(https(strict.clone()), valid);
    web.passes(https(named("www.example")), valid);
    assert_eq!(web.reason(https(named("www2.example")), valid), FailureReason::Tls);
    assert_eq!(web.reason(https(strict.clone()), expired), FailureReason::Tls);
    let of_system = CheckTls { authorities: None, ..strict.clone() };
    let found = web.reason(https(of_system), valid);
    assert!(matches!(found, FailureReason::Tls | FailureReason::Local), "{found:?}");

    // Expiry.
    let warned =
        |days: u64| CheckTls { expiry_warning: Some(Duration::from_secs(days * 86_400)), ..lenient.clone() };
    assert_eq!(web.passes(https(warned(30)), valid).warning, None);
    let warning = web.passes(https(warned(365_000)), valid).warning.unwrap();
    assert!(warning.starts_with("the certificate expires in "), "{warning}");
    let warning = web.passes(https(warned(30)), expired).warning.unwrap();
    assert!(warning.starts_with("the certificate expired "), "{warning}");

    // HTTP/2 by ALPN.
    let h2 = HttpCheck { version: HttpVersion::H2, ..https(strict.clone()) };
    web.passes(h2.clone(), valid);
    assert_eq!(web.reason(h2, expired), FailureReason::Tls);

    // Client certificate: nginx answers with status 400 where there is none.
    let with = CheckTls { client_certificate: Some(web.client.clone()), ..strict.clone() };
    let name = |tls: CheckTls| HttpCheck { tls: Some(tls), ..http(vec![matching("/name", "^SUCCESS$")]) };
    web.passes(name(with.clone()), asking);
    assert_eq!(web.reason(name(strict.clone()), asking), FailureReason::Status);

    // Plain HTTP on the port.
    assert_eq!(web.reason(https(lenient), "127.0.0.1:8080"), FailureReason::Tls);

    // Files: missing, of another kind, changed between two runs.
    let missing = web.host.folder().join("missing.pem");
    let lost = CheckTls { authorities: Some(missing.clone()), ..strict.clone() };
    let failure = web.run(https(lost), valid).unwrap_err();
    assert_eq!(failure.reason, FailureReason::Local);
    assert!(failure.detail.contains(missing.to_str().unwrap()), "{failure}");
    let wrong = CheckTls {
        client_certificate: Some((web.host.folder().join("page"), web.client.1.clone())),
        ..strict.clone()
    };
    assert_eq!(web.reason(https(wrong), valid), FailureReason::Local);
    let other_key = KeyPair::generate().unwrap();
    let other = CertificateParams::new(vec!["other.example".to_owned()]).unwrap();
    web.host.write("ca.pem", other.self_signed(&other_key).unwrap().pem()).unwrap();
    assert_eq!(web.reason(https(strict), valid), FailureReason::Tls);
}

#[test]
fn genhash_prints_what_that_of_keepalived_prints() {
    let web = Web::start();
    let run = |program: &[&str], arguments: &str| {
        let words: Vec<_> = program.iter().copied().chain(arguments.split(' ')).collect();
        web.host.namespace().run(&words).unwrap()
    };
    let ours = [env!("CARGO_BIN_EXE_lvx"), "genhash"];
    for arguments in [
        "-s 127.0.0.1 -p 8080 -u /page",
        "-s 127.0.0.1 -p 8080 -u /big",
        "-s 127.0.0.1 -p 8080 -u /broken",
        "-s 127.0.0.1 -p 8080 -u / -V virtual.example",
        "-s ::1 -p 8080 -u /page -P 1.1",
        "-S -s 127.0.0.1 -p 8443 -u /page",
    ] {
        let (theirs, own) = (run(&["genhash"], arguments), run(&ours, arguments));
        assert!(own.status.success(), "{arguments}: {own:?}");
        assert_eq!(theirs.stdout.len(), 33, "{arguments}: {theirs:?}");
        assert_eq!(String::from_utf8(own.stdout), String::from_utf8(theirs.stdout), "{arguments}");
    }
    // Both print the digest on a line of its own among the rest.
    let verbose = "-v -s 127.0.0.1 -p 8080 -u /page";
    let md5 = String::from_utf8(run(&ours, "-s 127.0.0.1 -p 8080 -u /page").stdout).unwrap();
    for program in [&["genhash"][..], &ours] {
        let printed = String::from_utf8(run(program, verbose).stdout).unwrap();
        assert!(printed.lines().any(|line| line == md5.trim_end()), "{printed}");
    }
    let sha256 = String::from_utf8(run(&ours, "--sha256 -s 127.0.0.1 -p 8080 -u /page").stdout).unwrap();
    let expected: String = sum(&web, "sha256sum").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sha256.trim_end(), expected);

    let refused = run(&ours, "-s 127.0.0.1 -p 8099 -u /");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refused"), "{refused:?}");
}
