//! Redirections, as far as they lead to the same server.

use std::net::SocketAddr;

use url::{Host, Position, Url};

use super::connection::Target;
use crate::health::checker::quote::quote;
use crate::health::{Failure, FailureReason};

/// Whether a status stands for a redirection that can be followed (RFC 9110, 15.4).
pub(super) fn is_redirection(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The request that `location` stands for. The same server is the one that was named in the request, or the endpoint.
///
/// # Errors
/// [`FailureReason::Redirect`] where it names another server or another scheme, or is no address.
pub(super) fn follow(
    from: &Target,
    scheme: &str,
    status: u16,
    location: &[u8],
    endpoint: SocketAddr,
) -> Result<Target, Failure> {
    let refused = |why: &str| {
        Failure::new(FailureReason::Redirect, format!("status {status} leads to {}, {why}", quote(location)))
    };
    let base = format!("{scheme}://{}{}", from.authority(scheme == "https"), from.path);
    let base = Url::parse(&base).map_err(|_| refused("and the request has no address to compare it with"))?;
    let text = std::str::from_utf8(location).map_err(|_| refused("which is no address"))?;
    let to = base.join(text).map_err(|_| refused("which is no address"))?;
    let named = to.host() == base.host() && to.port_or_known_default() == base.port_or_known_default();
    if to.scheme() != base.scheme() || !(named || is_endpoint(&to, endpoint)) {
        return Err(refused("which is another server"));
    }
    // What browsers do, and RFC 9110 allows for 301 and 302 and prescribes for 303.
    let get = status == 303 && from.method != "HEAD" || matches!(status, 301 | 302) && from.method == "POST";
    Ok(Target {
        method: if get { "GET".to_owned() } else { from.method.clone() },
        path: to[Position::BeforePath..Position::AfterQuery].to_owned(),
        ..from.clone()
    })
}

fn is_endpoint(url: &Url, endpoint: SocketAddr) -> bool {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        _ => return false,
    };
    url.port_or_known_default().is_some_and(|port| SocketAddr::new(address, port) == endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: Option<&str>) -> Target {
        Target {
            method: "POST".to_owned(),
            path: "/a/b?c".to_owned(),
            host: host.map(str::to_owned),
            endpoint: endpoint(),
        }
    }

    fn endpoint() -> SocketAddr {
        "[2001:db8::1]:8080".parse().unwrap()
    }

    #[test]
    fn to_the_same_server() {
        for (location, path) in [
            ("/x", "/x"),
            ("x?y#z", "/a/x?y"),
            ("../x", "/x"),
            ("?d", "/a/b?d"),
            ("http://www.example/", "/"),
            ("http://WWW.example:80", "/"),
            ("//www.example/x", "/x"),
            ("http://[2001:db8::1]:8080/x", "/x"),
        ] {
            let to =
                follow(&target(Some("www.example")), "http", 302, location.as_bytes(), endpoint()).unwrap();
            assert_eq!(to.path, path, "{location}");
            assert_eq!(to.method, "GET");
        }
        let to = follow(&target(None), "http", 307, b"http://[2001:db8::1]:8080/", endpoint()).unwrap();
        assert_eq!(to.method, "POST");
    }

    #[test]
    fn to_another_server() {
        for location in [
            "http://www2.example/",
            "https://www.example/",
            "http://www.example:8081/",
            "//other/",
            "http://[2001:db8::2]:8080/",
            "ftp://www.example/",
            "mailto:postmaster@www.example",
            "http://[/",
        ] {
            let failure = follow(&target(Some("www.example")), "http", 301, location.as_bytes(), endpoint())
                .unwrap_err();
            assert_eq!(failure.reason, FailureReason::Redirect, "{location}");
        }
    }
}
