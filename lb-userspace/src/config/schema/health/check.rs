//! `[[service.check]]`

use super::{COMMAND, Duration, Key, Kind, Presence, REGEX, SHORTEST, Table, duration, flag, number, text};

/// Words of `type`.
pub const TYPES: [&str; 23] = [
    "tcp", "http", "https", "smtp", "dns", "ping", "udp", "script", "external", "file", "expect", "ftp",
    "imap", "pop", "nntp", "ldap", "mysql", "pgsql", "redis", "sip", "radius", "on", "off",
];

/// `type`
pub static TYPE: Key = Key {
    name: "type",
    kind: Kind::Word {
        what: "type of check",
        words: &TYPES,
        foreign: &[
            ("tcp_check", "tcp"),
            ("connect", "tcp"),
            ("http_get", "http"),
            ("ssl_get", "https"),
            ("smtp_check", "smtp"),
            ("dns_check", "dns"),
            ("ping_check", "ping"),
            ("icmp", "ping"),
            ("udp_check", "udp"),
            ("misc_check", "script"),
            ("exec", "script"),
            ("file_check", "file"),
            ("simpletcp", "expect"),
            ("negotiate", "expect"),
            ("postgres", "pgsql"),
            ("postgresql", "pgsql"),
            ("mariadb", "mysql"),
            ("pop3", "pop"),
        ],
    },
    presence: Presence::Required,
    foreign: &["kind", "checktype", "check"],
    doc: "What is asked. `tcp`: a connection is accepted. `http`, `https`: requests are answered as expected. `smtp`: \
          greeting and HELO. `dns`: a query is answered. `ping`: ICMP echo. `udp`: a datagram is answered, or not \
          refused. `script`: a program's exit code; `external` appends virtual address and port, real address and \
          port. `file`: a file on the director. `expect`: a dialogue of `step`s. `ftp`, `imap`, `pop`, `nntp`, \
          `ldap`, `mysql`, `pgsql`, `redis`, `sip`, `radius`: a dialogue of that protocol. `on`, `off`: always up, \
          always down.",
};
/// `interval`
pub static INTERVAL: Key = duration(
    "interval",
    SHORTEST,
    Presence::Default("\"5s\""),
    &["delay_loop", "checkinterval", "inter", "period"],
    "From the start of one run to the start of the next. A slow run delays the next; there are never two at once.",
);
/// `timeout`
pub static TIMEOUT: Key = duration(
    "timeout",
    SHORTEST,
    Presence::Default("\"3s\""),
    &["connect_timeout", "misc_timeout", "checktimeout", "negotiatetimeout"],
    "Bound for a whole run.",
);
/// `retry_delay`
pub static RETRY_DELAY: Key = duration(
    "retry_delay",
    Duration::ZERO,
    Presence::Default("\"1s\""),
    &["delay_before_retry"],
    "From a failed run to the next while the verdict is still \"up\".",
);
/// `rise`
pub static RISE: Key = number(
    "rise",
    (1, 1000),
    Presence::Default("1"),
    &["success_threshold"],
    "Good results in a row that bring a failed check back.",
);
/// `fall`
pub static FALL: Key = number(
    "fall",
    (1, 1000),
    Presence::Default("2"),
    &["retry", "failurecount", "nb_get_retry", "retries"],
    "Bad results in a row after which a check fails (keepalived's `retry` plus 1).",
);
/// `warmup`
pub static WARMUP: Key = duration(
    "warmup",
    Duration::ZERO,
    Presence::Otherwise("`interval`"),
    &["warm_up"],
    "The first run waits up to this long, each check differently, so that they do not run all at once.",
);
/// `address`
pub static ADDRESS: Key = text(
    "address",
    "an address without a port, such as \"10.0.0.1\" or \"2001:db8::1\"",
    "the address of the real server",
    &["connect_ip", "host_ip", "ip"],
    "Address that is asked.",
);
/// `port`
pub static PORT: Key = number(
    "port",
    (1, 65_535),
    Presence::Otherwise("the port of the real server"),
    &["connect_port", "checkport"],
    "Port that is asked.",
);
/// `source`
pub static SOURCE: Key = text(
    "source",
    "an address without a port, such as \"10.0.0.1\" or \"2001:db8::1\"",
    "as the kernel chooses",
    &["bindto", "bind", "source_address"],
    "Address of the director to ask from.",
);
/// `interface`
pub static INTERFACE: Key = text(
    "interface",
    "the name of a network interface: at most 15 bytes, without \"/\", \":\" and spaces",
    "as the routes say",
    &["bind_if", "device"],
    "Interface to ask through.",
);
/// `mark`
pub static MARK: Key = number(
    "mark",
    (1, u32::MAX),
    Presence::Otherwise("no mark"),
    &["fwmark"],
    "Mark of the packets, for policy routing.",
);
/// `through`
pub static THROUGH: Key = Key {
    name: "through",
    kind: Kind::Word {
        what: "way of a check",
        words: &["network", "datapath"],
        foreign: &[("dsr", "datapath"), ("direct", "network")],
    },
    presence: Presence::Default("\"network\""),
    foreign: &["mode", "via"],
    doc: "`network` asks the real server's own address. `datapath` asks the virtual address on this real server, by \
          the forwarding method (`dr` or `tunnel`): it finds out a server that lost the virtual address or its tunnel.",
};
/// `method`
pub static METHOD: Key = text(
    "method",
    "a method of HTTP such as \"GET\" or \"HEAD\"",
    "`\"GET\"`",
    &["httpmethod"],
    "For `http`, `https`: method of the request.",
);
/// `path`
pub static PATH: Key = text(
    "path",
    "a path that begins with \"/\"",
    "`\"/\"`",
    &["url", "uri", "request_path"],
    "For `http`, `https`: path and query of the request.",
);
/// `host`
pub static HOST: Key = text(
    "host",
    "a host name, with a port or without",
    "the address",
    &["virtualhost", "vhost", "hostname"],
    "For `http`, `https`: the Host field, and the name in TLS where `tls.server_name` says nothing else.",
);
/// `header`
pub static HEADER: Key = Key {
    name: "header",
    kind: Kind::Texts("a list of strings such as [\"Accept: text/plain\"]"),
    presence: Presence::Otherwise("none"),
    foreign: &["headers"],
    doc: "For `http`, `https`: further header fields.",
};
/// `status`
pub static STATUS: Key = text(
    "status",
    "status codes and ranges such as \"200\", \"200-299\" or \"200,204,301-303\"",
    "`\"200-299\"`",
    &["status_code", "expect_status"],
    "For `http`, `https`: status codes that are good.",
);
/// `md5`
pub static MD5: Key = text(
    "md5",
    "32 hexadecimal digits",
    "the body may be any",
    &["digest", "genhash"],
    "For `http`, `https`: MD5 digest of the body, as `lvx genhash` and keepalived's `genhash` print it.",
);
/// `sha256`
pub static SHA256: Key = text(
    "sha256",
    "64 hexadecimal digits",
    "the body may be any",
    &["sha"],
    "For `http`, `https`: SHA-256 digest of the body.",
);
/// `pattern`
pub static PATTERN: Key = text(
    "pattern",
    REGEX,
    "the answer may be any",
    &["regex", "receive", "reply"],
    "For `http`, `https`, `udp`: regular expression that the body or answer has to match.",
);
/// `no_pattern`
pub static NO_PATTERN: Key = text(
    "no_pattern",
    REGEX,
    "the answer may be any",
    &["regex_no_match", "not_pattern"],
    "For `http`, `https`, `udp`: regular expression that must not match.",
);
/// `max_redirects`
pub static MAX_REDIRECTS: Key = number(
    "max_redirects",
    (0, 20),
    Presence::Default("0"),
    &["redirects", "follow_redirects"],
    "For `http`, `https`: redirections to the same server that are followed; then `status` is that of the last answer.",
);
/// `[[service.check.request]]`
pub static REQUEST: Key = Key {
    name: "request",
    kind: Kind::Tables(&super::request::TABLE),
    presence: Presence::Otherwise("one request, described by the keys above"),
    foreign: &["url", "requests", "urls"],
    doc: "For `http`, `https`: several requests, one after the other, all of which have to be answered as expected.",
};
/// `version`
pub static VERSION: Key = Key {
    name: "version",
    kind: Kind::Word {
        what: "version of HTTP",
        words: &["1.0", "1.1", "2"],
        foreign: &[("h2", "2"), ("1", "1.0"), ("1.0c", "1.0"), ("2.0", "2")],
    },
    presence: Presence::Default("\"1.1\""),
    foreign: &["http_protocol", "http_version"],
    doc: "For `http`, `https`: version of HTTP.",
};
/// `max_body`
pub static MAX_BODY: Key = Key {
    name: "max_body",
    kind: Kind::Size { min: 1, max: 64 << 20 },
    presence: Presence::Default("\"1Mi\""),
    foreign: &["body_limit"],
    doc: "For `http`, `https`: most bytes of a body that are read. A longer one fails where the body matters.",
};
/// `tls`
pub static TLS: Key = Key {
    name: "tls",
    kind: Kind::Table(&super::tls::TABLE),
    presence: Presence::Otherwise("no TLS, except for `https`, where every key is at its default"),
    foreign: &["ssl"],
    doc: "For `https`, `smtp`, `expect`, `ftp`, `imap`, `pop`, `nntp`, `ldap`, `mysql`, `pgsql`, `redis`, `sip`: TLS \
          from the start of the connection.",
};
/// `helo`
pub static HELO: Key = text(
    "helo",
    "a host name",
    "the name of the director",
    &["helo_name", "ehlo"],
    "For `smtp`: name in HELO.",
);
/// `name`
pub static NAME: Key = text(
    "name",
    "a domain name such as \"example.org\"",
    "`\".\"`",
    &["query_name", "domain"],
    "For `dns`: name that is asked for.",
);
/// `record`
pub static RECORD: Key = Key {
    name: "record",
    kind: Kind::Word {
        what: "record type",
        words: &["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"],
        foreign: &[],
    },
    presence: Presence::Default("\"SOA\""),
    foreign: &["record_type", "query_type", "rrtype"],
    doc: "For `dns`: type of the record that is asked for.",
};
/// `answer`
pub static ANSWER: Key = text(
    "answer",
    "a text",
    "any answer with NOERROR or NXDOMAIN is good",
    &["expect_answer"],
    "For `dns`: text that one record of the answer has to contain, such as an address.",
);
/// `payload`
pub static PAYLOAD: Key = text(
    "payload",
    "a text; \\xNN stands for a byte",
    "one zero byte",
    &["send", "request"],
    "For `udp`: what is sent. TOML's own escapes are read first, so a byte is written `'\\x00'` in single quotes.",
);
/// `require_reply`
pub static REQUIRE_REPLY: Key = flag(
    "require_reply",
    "false",
    &["reply_required"],
    "For `udp`: an answer has to come. Otherwise the check only fails when ICMP says that nobody listens.",
);
/// `command`
pub static COMMAND_KEY: Key = Key {
    name: "command",
    kind: Kind::Texts(COMMAND),
    presence: Presence::Otherwise("an error for `script` and `external`"),
    foreign: &["misc_path", "checkcommand", "script", "program"],
    doc: "For `script`, `external`: the program. No shell is involved. It and its directories must be writable by \
          their owner alone.",
};
/// `user`
pub static USER: Key = text(
    "user",
    "a name",
    "the daemon's own for `script` and `external`, no login elsewhere",
    &["login", "username"],
    "For `script`, `external`: user to run as. For `ftp`, `imap`, `pop`, `ldap` (a distinguished name), `mysql`, \
     `pgsql`, `redis`, `sip`, `radius`: name to log in with.",
);
/// `dynamic`
pub static DYNAMIC: Key = flag(
    "dynamic",
    "false",
    &["misc_dynamic"],
    "For `script`, `external`: exit codes 2 to 255 are good and set the weight to the code less 2; 0 leaves the \
     configured weight, 1 fails. Otherwise every code but 0 fails.",
);
/// `file`
pub static FILE: Key = text(
    "file",
    "an absolute path",
    "an error for `file`",
    &["track_file", "maintenancedir"],
    "For `file`: the file.",
);
/// `meaning`
pub static MEANING: Key = Key {
    name: "meaning",
    kind: Kind::Word { what: "meaning of a file", words: &["drain", "down", "weight"], foreign: &[] },
    presence: Presence::Default("\"drain\""),
    foreign: &["means"],
    doc: "For `file`: while the file exists, the real server is quiesced (`drain`) or down (`down`); or its content is \
          an integer that is added to the weight (`weight`), and below zero in sum is down.",
};
/// `[[service.check.step]]`
pub static STEP: Key = Key {
    name: "step",
    kind: Kind::Tables(&super::step::TABLE),
    presence: Presence::Otherwise("an error for `expect`"),
    foreign: &["steps", "dialogue"],
    doc: "For `expect`: what is sent and what has to arrive, in order.",
};
/// `password`
pub static PASSWORD: Key = text(
    "password",
    "a text",
    "empty",
    &["passwd", "pass"],
    "For the protocols with a login: password. Keep the file readable by root alone.",
);
/// `database`
pub static DATABASE: Key = text(
    "database",
    "a name",
    "none for `mysql`, the user's name for `pgsql`",
    &["db"],
    "For `mysql`, `pgsql`: database to open.",
);
/// `query`
pub static QUERY: Key = text(
    "query",
    "a statement of SQL",
    "none",
    &["sql", "request"],
    "For `mysql`, `pgsql` with a login: statement that has to succeed.",
);
/// `base`
pub static BASE: Key = text(
    "base",
    "a distinguished name",
    "none",
    &["basedn", "base_dn"],
    "For `ldap`: entry that has to exist.",
);
/// `secret`
pub static SECRET: Key =
    text("secret", "a text", "an error for `radius`", &["shared_secret"], "For `radius`: shared secret.");
/// `transport`
pub static TRANSPORT: Key = Key {
    name: "transport",
    kind: Kind::Word { what: "transport", words: &["tcp", "udp"], foreign: &[] },
    presence: Presence::Otherwise("as the service"),
    foreign: &["protocol"],
    doc: "For `sip`: over TCP or UDP.",
};
/// The table.
pub static TABLE: Table = Table {
    header: "[[service.check]]",
    doc: "A health check of the real servers of a service; as `[[service.real_server.check]]` of one of them. \
          docs/health.md tells more.",
    keys: &[
        &TYPE,
        &INTERVAL,
        &TIMEOUT,
        &RETRY_DELAY,
        &RISE,
        &FALL,
        &WARMUP,
        &ADDRESS,
        &PORT,
        &SOURCE,
        &INTERFACE,
        &MARK,
        &THROUGH,
        &METHOD,
        &PATH,
        &HOST,
        &HEADER,
        &STATUS,
        &MD5,
        &SHA256,
        &PATTERN,
        &NO_PATTERN,
        &MAX_REDIRECTS,
        &REQUEST,
        &VERSION,
        &MAX_BODY,
        &TLS,
        &HELO,
        &NAME,
        &RECORD,
        &ANSWER,
        &PAYLOAD,
        &REQUIRE_REPLY,
        &COMMAND_KEY,
        &USER,
        &DYNAMIC,
        &FILE,
        &MEANING,
        &STEP,
        &PASSWORD,
        &DATABASE,
        &QUERY,
        &BASE,
        &SECRET,
        &TRANSPORT,
    ],
};
