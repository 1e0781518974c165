//! When a certificate ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_cert::Certificate;
use x509_cert::der::Decode;

const DAY: u64 = 86_400;

/// A warning for a certificate (DER) that ends before `now` plus `within`, or has ended. One that cannot be read gives
/// none: whether it serves is for the handshake to say.
pub(super) fn warning(certificate: &[u8], within: Duration, now: SystemTime) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    if end > now.saturating_add(within.as_secs()) {
        None
    } else if end >= now {
        Some(format!("the certificate expires in {}", days((end - now) / DAY)))
    } else {
        Some(format!("the certificate expired {} ago", days((now - end) / DAY)))
    }
}

fn days(number: u64) -> String {
    match number {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        _ => format!("{number} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_left_and_days_gone() {
        let mut parameters = rcgen::CertificateParams::new(vec!["www.example".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 11);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let end = UNIX_EPOCH + Duration::from_secs(1_894_320_000);
        let days = |number: u64| Duration::from_secs(number * DAY);
        let at = |now| warning(certificate.der(), days(14), now);

        assert_eq!(at(end - days(15)), None);
        assert_eq!(at(end - days(14)), Some("the certificate expires in 14 days".to_owned()));
        assert_eq!(
            at(end - Duration::from_secs(60)),
            Some("the certificate expires in less than a day".to_owned())
        );
        assert_eq!(at(end + days(1)), Some("the certificate expired 1 day ago".to_owned()));
        assert_eq!(warning(b"no certificate", days(14), end), None);
    }
}
