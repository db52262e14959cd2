#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> ParsedUrl {
    parse_transport_url(text).unwrap()
}

fn error(text: &str) -> String {
    parse_transport_url(text).unwrap_err().to_string()
}

fn host(host: &str, port: u16, user: &str, password: &str) -> Host {
    Host { host: host.into(), port, user: user.into(), password: Secret::new(password) }
}

#[test]
fn one_host() {
    let url = parsed("rabbit://openstack:s3cret@ctl1:5673/keystone");
    assert_eq!(url.hosts, [host("ctl1", 5673, "openstack", "s3cret")]);
    assert_eq!((url.vhost.as_str(), url.tls, url.mechanism), ("keystone", None, None));
    assert!(url.notes.is_empty());
}

#[test]
fn several_hosts_each_with_its_own_credentials() {
    let url = parsed("rabbit://a:p%40%2F@h1:5672,b:q@[2001:db8::1]:5673,h3/");
    let expected =
        [host("h1", 5672, "a", "p@/"), host("2001:db8::1", 5673, "b", "q"), host("h3", 5672, "guest", "guest")];
    assert_eq!(url.hosts, expected);
    assert_eq!(url.notes, ["1 of 3 hosts have no user and password: guest is used"]);
}

#[test]
fn what_is_missing_is_filled_in_like_kombu() {
    for text in ["rabbit://", "rabbit:///", "amqp://guest:guest@localhost:5672/", "rabbit://@/", "rabbit://:@:/"] {
        assert_eq!(parsed(text).hosts, [host("localhost", 5672, "guest", "guest")], "{text}");
        assert_eq!(parsed(text).vhost, "/", "{text}");
    }
    assert_eq!(parsed("rabbit://u@h").hosts, [host("h", 5672, "u", "guest")]);
    assert_eq!(parsed("rabbit://::1").hosts, [host("::1", 5672, "guest", "guest")]);
    assert_eq!(parsed("amqps://u:p@h").hosts, [host("h", 5671, "u", "p")]);
    assert_eq!(parsed("rabbit://u:p@h?ssl=1").hosts, [host("h", 5672, "u", "p")]);
}

#[test]
fn virtual_hosts() {
    for (path, vhost) in [
        ("", "/"),
        ("/", "/"),
        ("/openstack", "openstack"),
        ("//", "/"),
        ("/%2F", "/"),
        ("//openstack", "/openstack"),
        ("/%2Fopenstack", "/openstack"),
        ("/a/b", "a/b"),
        ("/v@x", "v@x"),
    ] {
        assert_eq!(parsed(&format!("rabbit://u:p@h{path}")).vhost, vhost, "{path}");
    }
}

#[test]
fn passwords_are_decoded_as_python_does() {
    for (written, read) in [("a+b", "a+b"), ("%zz", "%zz"), ("p:w", "p:w"), ("p%C3%A4", "pä"), ("a@b", "a@b")] {
        assert_eq!(parsed(&format!("rabbit://u:{written}@h/")).hosts[0].password.expose(), read);
    }
}

#[test]
fn options_of_oslo() {
    let url = parsed(
        "rabbit://h/?ssl=1&ssl_ca_file=%2Fetc/ca.pem&ssl_cert_file=/c&ssl_key_file=/k&rabbit_login_method=EXTERNAL\
         &heartbeat_rate=3",
    );
    let identity = Some(Identity::Pem { cert_file: "/c".into(), key_file: "/k".into() });
    assert_eq!(url.tls, Some(Tls { ca_file: Some("/etc/ca.pem".into()), identity }));
    assert_eq!(url.mechanism, Some(Mechanism::External));
    assert_eq!(url.notes, ["option `heartbeat_rate` is ignored"]);

    assert_eq!(parsed("rabbit://h/?ssl=False&ssl_ca_file=/ca").tls, None);
    assert_eq!(parsed("amqps://h/?ssl_ca_file=/ca").tls.unwrap().ca_file, Some("/ca".into()));
}

#[test]
fn errors_show_where_and_hide_the_password() {
    for (text, shown) in [
        (
            "rabbit://openstack:s3cret@host:56x2/",
            "rabbit://openstack:***@host:56x2/: port `56x2` is not a number from 1 to 65535",
        ),
        (
            "rabbit://a:s3cret@h1:5672,b:s3cret@h2:0/v",
            "rabbit://a:***@h1:5672,b:***@h2:0/v: port `0` is not a number from 1 to 65535",
        ),
        (
            "rabbit://u:s3c/ret@host/",
            "rabbit://***@host/: `@` after the end of the hosts; in a password, write `/` as %2F, `?` as %3F and \
             `#` as %23",
        ),
        ("rabbit://u:s3c,ret@h:x/", "rabbit://***@h:***: port `***` is not a number from 1 to 65535"),
        ("rabbit://openstack:s3cret", "rabbit://openstack:***: port `***` is not a number from 1 to 65535"),
        (
            "rabbit://u:s3cret@[::1/",
            "rabbit://u:***@[::1/: host `[::1` is neither a name nor an address; an IPv6 address is written as \
             [::1]:5672",
        ),
        ("kafka://u:s3cret@h/", "kafka://u:***@h/: `kafka` is not supported; expected rabbit://, amqp:// or amqps://"),
        ("u:s3cret@h", "u:***@h: expected rabbit://user:password@host:5672/virtual_host"),
        ("rabbit://u:s3cret@h/?ssl=maybe", "rabbit://u:***@h/?…: option `ssl` has to be true or false"),
        (
            "rabbit://u:s3cret@h/?ssl_key_file=/k",
            "rabbit://u:***@h/?…: option `ssl_cert_file` has to be given together with ssl_key_file",
        ),
    ] {
        assert_eq!(error(text), shown);
    }
    assert!(error(&format!("rabbit://h/{}", "v".repeat(256))).ends_with("longer than 255 bytes"));
}

/// What every word of a URL may be made of, without the password's own letters.
fn around() -> impl Strategy<Value = String> {
    "[a-m0-9:@/,?#&=%\\[\\]. ]{0,12}"
}

proptest! {
    #[test]
    fn no_input_panics(text in any::<String>(), tail in any::<String>()) {
        let _ = parse_transport_url(&text);
        let _ = parse_transport_url(&format!("rabbit://{text}"));
        let _ = parse_transport_url(&format!("rabbit://u:p@{text}/{tail}?{tail}"));
    }

    #[test]
    fn nothing_said_holds_the_password(
        scheme in "rabbit|amqps|kafka|rabbit:",
        user in "[a-m]{0,5}",
        password in "[N-Z]{3}[N-Z@:/,?#%&=]{0,8}[N-Z]{3}",
        junk in around(),
        tail in around(),
    ) {
        let said = match parse_transport_url(&format!("{scheme}://{user}:{password}@{junk}{tail}")) {
            Ok(parsed) => format!("{:?} {:?}", parsed.notes, parsed.hosts),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!said.contains(&password), "{}", said);
    }

    #[test]
    fn every_password_survives_encoding(password in "\\PC{1,20}") {
        let encoded = percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC);
        let parsed = parse_transport_url(&format!("rabbit://u:{encoded}@h1:1,u:{encoded}@h2:2/v")).unwrap();
        prop_assert_eq!(&parsed.hosts[0].password, &Secret::new(password.clone()));
        prop_assert_eq!(&parsed.hosts[1].password, &Secret::new(password));
        prop_assert!(parsed.notes.is_empty());
    }
}
