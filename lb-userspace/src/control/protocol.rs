//! What goes over the control socket: one JSON object per line in either direction.
//!
//! A client sends `{"command":"version"}` and a newline and reads the reply; then it may send the next command. All
//! replies are one line, except that of `connections`: lines with at most [`CONNECTIONS_PER_LINE`] entries each and an
//! `end` line with their number, so that a list that was cut short is told from a complete one.

use serde::{Deserialize, Serialize};

use super::snapshot::{ConnectionStatus, Snapshot};

/// Entries in one `connections` line: some 25 KB of text.
pub const CONNECTIONS_PER_LINE: usize = 128;

/// A client's question. Fields a daemon does not know are ignored, commands it does not know are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Everything but the connection entries.
    Snapshot,
    /// All connection entries.
    Connections,
    /// The daemon's version.
    Version,
    /// Hands a virtual router over, or takes it back.
    Switchover {
        /// The instance; all of them where there is none.
        #[serde(default)]
        instance: Option<String>,
        /// Whether it is to be a backup here; whichever it is not where there is none.
        #[serde(default)]
        to_backup: Option<bool>,
    },
}

/// Answer to [`Request::Switchover`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchoverReply {
    /// Instances that are under way; none where nothing is to be done.
    pub instances: Option<Vec<String>>,
    /// Whether they go to another director, not to this one.
    pub to_backup: bool,
    /// One sentence for the operator.
    pub text: String,
}

/// One line of the daemon's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "data", rename_all = "snake_case")]
pub enum Reply {
    /// Answers [`Request::Snapshot`].
    Snapshot(Box<Snapshot>),
    /// A part of the answer to [`Request::Connections`].
    Connections(Vec<ConnectionStatus>),
    /// The end of the answer to [`Request::Connections`].
    End {
        /// Entries sent.
        count: u64,
    },
    /// Answers [`Request::Version`].
    Version(String),
    /// Answers [`Request::Switchover`].
    Switchover(SwitchoverReply),
    /// The request was refused.
    Error {
        /// One sentence for the operator.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spelled_as_documented() {
        for (text, request) in [
            (r#"{"command":"snapshot"}"#, Request::Snapshot),
            (r#"{"command":"connections"}"#, Request::Connections),
            (r#"{"command":"version"}"#, Request::Version),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
    }

    #[test]
    fn fields_of_a_newer_client_are_ignored() {
        let request = r#"{"command":"version","since":3}"#;
        assert_eq!(serde_json::from_str::<Request>(request).unwrap(), Request::Version);
    }

    #[test]
    fn an_unknown_command_is_named_in_the_error() {
        let error = serde_json::from_str::<Request>(r#"{"command":"reboot"}"#).unwrap_err().to_string();
        assert!(error.contains("reboot") && error.contains("snapshot"), "{error}");
    }

    #[test]
    fn replies_are_spelled_as_documented() {
        let version = Reply::Version("0.1.0".to_owned());
        assert_eq!(serde_json::to_string(&version).unwrap(), r#"{"reply":"version","data":"0.1.0"}"#);
        let end = Reply::End { count: 7 };
        assert_eq!(serde_json::to_string(&end).unwrap(), r#"{"reply":"end","data":{"count":7}}"#);
    }
}
