//! The client for Keystone against everything that Keystone, the network and the settings can do to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cadfd::keystone::{
    Auth, Client, Credential, Domain, Failure, Interface, MAX_MEMBERS, Project, Scope, Settings, TIMEOUT, User,
};
use cadfd::name::{Kind, Thing};
use cadfd::secret::Secret;
use cadfd::transport;
use serde_json::json;

use crate::certificates::{self, Authority};
use crate::run_test;
use crate::standins::keystone::{CREDENTIAL, CREDENTIAL_ID, CREDENTIAL_SECRET, PASSWORD, PROJECT_ID, USER, USER_ID};
use crate::standins::{Fault, Keystone};

fn settings(keystone: &Keystone) -> Settings {
    let user = User::Name(USER.into(), Domain::Name("Default".into()));
    Settings {
        auth_url: keystone.url(),
        auth: Auth::Password { user, password: Secret::new(PASSWORD) },
        scope: Scope::System,
        region: None,
        interface: Interface::Public,
        tls: transport::Settings::default(),
        connect_timeout: Duration::from_secs(5),
        timeout: TIMEOUT,
    }
}

fn client(keystone: &Keystone) -> Client {
    Client::new(&settings(keystone)).unwrap()
}

fn thing(kind: Kind, id: &str, name: &str) -> Thing {
    let in_domain = matches!(kind, Kind::User | Kind::Project | Kind::Group);
    let can_be_disabled = matches!(kind, Kind::User | Kind::Project | Kind::Domain | Kind::Service | Kind::Endpoint);
    Thing {
        kind,
        id: id.into(),
        name: Some(name.into()),
        domain_id: in_domain.then(|| "default".into()),
        enabled: can_be_disabled.then_some(true),
        members: None,
    }
}

/// What a listing gives, with the sizes of its pages.
async fn list(client: &Client, kind: Kind) -> (Result<(), Failure>, Vec<Thing>, Vec<usize>) {
    let pages = Mutex::new(Vec::new());
    let outcome = client
        .list(kind, |page| {
            pages.lock().unwrap().push(page);
            async {}
        })
        .await;
    let pages = pages.into_inner().unwrap();
    let sizes = pages.iter().map(Vec::len).collect();
    (outcome, pages.into_iter().flatten().collect(), sizes)
}

/// One user, or why not.
async fn ask(client: &Client) -> Result<Option<Thing>, Failure> {
    client.get(Kind::User, "u1", None).await
}

/// Nothing that is ours may be said, whatever Keystone echoes.
fn is_discreet(failure: &Failure) -> String {
    let text = format!("{failure} {failure:?}");
    for secret in [PASSWORD, CREDENTIAL_SECRET, "gAAAA"] {
        assert!(!text.contains(secret), "{text}");
    }
    failure.to_string()
}

#[test]
fn a_thing_of_each_kind_is_read_and_listed() {
    run_test(async || {
        let keystone = Keystone::start().await;
        let client = client(&keystone);
        let disabled = Thing { enabled: Some(false), ..thing(Kind::User, "u2", "caröl\n\u{202e}") };
        let things = [
            thing(Kind::Domain, "default", "Default"),
            thing(Kind::Project, "p1", "demo"),
            // A domain, which is a project as well.
            Thing { domain_id: None, ..thing(Kind::Project, "default", "Default") },
            thing(Kind::User, "u1", "alice"),
            disabled,
            thing(Kind::Group, "g1", "admins"),
            thing(Kind::Role, "r1", "reader"),
            Thing { domain_id: Some("default".into()), ..thing(Kind::Role, "r2", "of a domain") },
            thing(Kind::Region, "RegionOne", "RegionOne"),
            thing(Kind::Region, "Zürich #1?%2F", "Zürich #1?%2F"),
            thing(Kind::Service, "s1", "nova"),
            thing(Kind::Trust, "t1", "u1 to u2"),
        ];
        for thing in &things {
            keystone.put(thing);
        }
        keystone.put(&thing(Kind::Endpoint, "e1", "s1 public RegionOne"));
        let endpoint = thing(Kind::Endpoint, "e1", "nova public RegionOne");
        for thing in things.iter().chain([&endpoint]) {
            // An id with a slash leads elsewhere at most servers, however it is encoded.
            let wanted = (!thing.id.contains('#')).then(|| thing.clone());
            assert_eq!(client.get(thing.kind, &thing.id, None).await, Ok(wanted), "{thing:?}");
        }
        for kind in Kind::ALL {
            let (outcome, mut found, _) = list(&client, kind).await;
            assert_eq!(outcome, Ok(()), "{kind}");
            let mut expected: Vec<_> = things.iter().chain([&endpoint]).filter(|t| t.kind == kind).cloned().collect();
            found.sort_by(|a, b| a.id.cmp(&b.id));
            expected.sort_by(|a, b| a.id.cmp(&b.id));
            assert_eq!(found, expected, "{kind}");
        }
        assert_eq!(keystone.logins(), 1);
        assert_eq!(client.own_user().as_deref(), Some(USER_ID));
        // A client that has listed nothing asks for the endpoint's service as well.
        let fresh = Client::new(&settings(&keystone)).unwrap();
        assert_eq!(fresh.own_user(), None);
        assert_eq!(fresh.get(Kind::Endpoint, "e1", None).await, Ok(Some(endpoint)));
    });
}

#[test]
fn an_application_credential_is_read_below_its_user() {
    run_test(async || {
        let keystone = Keystone::start().await;
        let client = client(&keystone);
        let credential = thing(Kind::ApplicationCredential, "a1", "ansible");
        keystone.put(&Thing { domain_id: Some("u1".into()), ..credential.clone() });
        let kind = Kind::ApplicationCredential;
        assert_eq!(client.get(kind, "a1", Some("u1")).await, Ok(Some(credential)));
        assert_eq!(client.get(kind, "a1", Some("u2")).await, Ok(None));
        keystone.forget_requests();
        assert_eq!(client.get(kind, "a1", None).await, Ok(None));
        assert_eq!(keystone.requests(), []);
    });
}

#[test]
fn what_does_not_exist_is_none_and_a_hostile_id_is_one_segment() {
    run_test(async || {
        let keystone = Keystone::start().await;
        let client = client(&keystone);
        keystone.put(&thing(Kind::User, "u1", "alice"));
        for id in ["nobody", "../users/u1", "u1?x=y", "u1#", "%75%31", "u1/", "\u{202e}", "a b"] {
            assert_eq!(client.get(Kind::User, id, None).await, Ok(None), "{id:?}");
        }
        keystone.forget_requests();
        for id in ["", ".", "..", "u1\n", "u1\r\nX: y", &"x".repeat(256)] {
            assert_eq!(client.get(Kind::User, id, None).await, Ok(None), "{id:?}");
            assert_eq!(client.members(id).await, Ok(None), "{id:?}");
        }
        assert_eq!(keystone.requests(), []);
        // A database that compares without case.
        keystone.put_json("users", "U1", json!({"id": "u1", "name": "alice"}));
        assert_eq!(client.get(Kind::User, "U1", None).await, Ok(None));
    });
}

#[test]
fn every_way_to_log_in_and_every_scope() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        let named = User::Name(USER.into(), Domain::Name("Default".into()));
        let password = |user| Auth::Password { user, password: Secret::new(PASSWORD) };
        let credential =
            |credential| Auth::ApplicationCredential { credential, secret: Secret::new(CREDENTIAL_SECRET) };
        for (auth, scope) in [
            (password(named.clone()), Scope::Unscoped),
            (password(User::Id(USER_ID.into())), Scope::System),
            (password(named.clone()), Scope::Domain(Domain::Id("default".into()))),
            (password(named.clone()), Scope::Domain(Domain::Name("Default".into()))),
            (password(named.clone()), Scope::Project(Project::Id(PROJECT_ID.into()))),
            (password(named.clone()), Scope::Project(Project::Name("service".into(), Domain::Id("default".into())))),
            (credential(Credential::Id(CREDENTIAL_ID.into())), Scope::Unscoped),
            (credential(Credential::Name(CREDENTIAL.into(), named.clone())), Scope::Unscoped),
        ] {
            let settings = Settings { auth, scope, ..settings(&keystone) };
            let client = Client::new(&settings).unwrap();
            assert!(ask(&client).await.unwrap().is_some(), "{settings:?}");
            assert!(!format!("{settings:?} {client:?}").contains(PASSWORD));
            assert!(!format!("{settings:?} {client:?}").contains(CREDENTIAL_SECRET));
            assert!(!format!("{client:?}").contains("gAAAA"));
        }
        let wrong = Auth::Password { user: named, password: Secret::new("wrong") };
        let client = Client::new(&Settings { auth: wrong, ..settings(&keystone) }).unwrap();
        assert!(matches!(ask(&client).await, Err(Failure::Denied { .. })));
    });
}

#[test]
fn the_endpoint_is_the_catalogues_by_region_and_interface() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        let nowhere = "http://127.0.0.1:9/".to_owned();
        let [public, internal, one, two] = ["public", "internal", "One", "Two"].map(str::to_owned);
        let url = keystone.url();
        keystone.odd(|odd| {
            odd.catalog = Some(vec![
                (internal, one.clone(), nowhere.clone()),
                (public.clone(), one, nowhere),
                (public, two, format!("{url}/identity")),
            ]);
        });
        let with = |region: &str, interface| Settings { region: Some(region.into()), interface, ..settings(&keystone) };
        let client = Client::new(&with("Two", Interface::Public)).unwrap();
        assert!(ask(&client).await.unwrap().is_some());
        assert!(keystone.attempts().contains(&"GET /identity/v3/users/u1".to_owned()), "{:?}", keystone.attempts());
        let client = Client::new(&with("Two", Interface::Internal)).unwrap();
        let failure = ask(&client).await.unwrap_err();
        assert!(!failure.may_pass());
        assert_eq!(
            failure.to_string(),
            "the catalogue has no internal identity endpoint in region \"Two\"; it has internal in \"One\", public in \
             \"One\", public in \"Two\"; look at interface and region"
        );
        // Without a region the first counts, and it is not there.
        assert!(matches!(ask(&Client::new(&settings(&keystone)).unwrap()).await, Err(Failure::Unreachable { .. })));
        // Where the token brings no catalogue, and however the address is written.
        keystone.odd(|odd| odd.catalog = None);
        for path in ["", "/", "/v3", "/v3/", "/identity", "/identity/v3/", "/v2.0"] {
            let settings = Settings { auth_url: format!("{}{path}", keystone.url()), ..settings(&keystone) };
            assert!(ask(&Client::new(&settings).unwrap()).await.unwrap().is_some(), "{path}");
        }
    });
}

#[test]
fn a_token_is_shared_and_renewed_once_when_it_is_refused() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        let client = Arc::new(client(&keystone));
        together(&client, 50).await;
        assert_eq!(keystone.logins(), 1);
        keystone.expire_tokens();
        together(&client, 50).await;
        assert_eq!(keystone.logins(), 2);
        // However often they end, a token that worked in between is renewed at once.
        for logins in 3..6 {
            keystone.expire_tokens();
            assert!(ask(&client).await.unwrap().is_some());
            assert_eq!(keystone.logins(), logins);
        }
    });
}

/// So many ask at once, and all are answered.
async fn together(client: &Arc<Client>, count: usize) {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let client = Arc::clone(client);
            tokio::spawn(async move { ask(&client).await })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().unwrap().is_some());
    }
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        keystone.odd(|odd| odd.token_lifetime = Duration::from_millis(500));
        let client = client(&keystone);
        while keystone.logins() < 3 {
            assert!(ask(&client).await.unwrap().is_some());
        }
    });
}

#[test]
fn a_refused_login_is_not_repeated_by_those_who_ask_meanwhile() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        keystone.odd(|odd| odd.refuse_logins = true);
        let client = client(&keystone);
        let failure = client.log_in().await.unwrap_err();
        assert!(!failure.may_pass());
        assert_eq!(
            is_discreet(&failure),
            "keystone does not let cadfd log in: The request you have made requires authentication: ***; look at \
             the user, password and scope in [keystone]"
        );
        assert_eq!(client.own_user(), None);
        for _ in 0..100 {
            assert_eq!(ask(&client).await, Err(failure.clone()));
        }
        // The delays are at least 250 ms: a hundred answers at once are within a few of them.
        assert!(keystone.logins() <= 3, "{}", keystone.logins());
        keystone.odd(|odd| odd.refuse_logins = false);
        while ask(&client).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(keystone.logins() <= 5, "{}", keystone.logins());
    });
}

#[test]
fn fresh_tokens_that_are_refused_make_no_storm_of_logins() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.odd(|odd| odd.refuse_tokens = true);
        let client = client(&keystone);
        for _ in 0..100 {
            let failure = ask(&client).await.unwrap_err();
            assert!(matches!(failure, Failure::Unauthorized { .. }), "{failure:?}");
            assert!(is_discreet(&failure).contains("requires authentication, ***"), "{failure}");
        }
        assert!(keystone.logins() <= 5, "{}", keystone.logins());
    });
}

#[test]
fn who_stops_waiting_does_not_end_the_login() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        keystone.fault_times(1, Fault::Slow(Duration::from_millis(300))).await;
        let client = client(&keystone);
        for _ in 0..20 {
            let in_time = tokio::time::timeout(Duration::from_millis(1), ask(&client)).await;
            assert!(in_time.is_err());
        }
        assert!(ask(&client).await.unwrap().is_some());
        assert_eq!(keystone.logins(), 1);
    });
}

#[test]
fn each_failure_is_told_apart() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        let client = Client::new(&Settings { timeout: Duration::from_millis(300), ..settings(&keystone) }).unwrap();
        assert!(ask(&client).await.unwrap().is_some());
        for (fault, passes, says) in [
            (Fault::Down, true, "connection refused"),
            (Fault::HangUp, true, "keystone is not reached"),
            (Fault::Hang, true, "no answer within 300 ms"),
            (Fault::Truncate, true, "the connection broke"),
            (Fault::Cut(20), true, "keystone is not reached"),
            (Fault::Status(500), true, "500: stand-in told to answer 500; its own log says why"),
            (Fault::Status(503), true, "keystone cannot answer now: 503"),
            (Fault::Status(429), true, "keystone cannot answer now: 429"),
            (Fault::Status(403), false, "may not read a user: stand-in told to answer 403; give it the reader role"),
            (Fault::Status(302), false, "redirects are not followed"),
            (Fault::Status(400), false, "keystone answered 400 to read a user"),
            // Not in Keystone's words: a proxy's, not that there is no such user.
            (Fault::Status(404), false, "there is no Identity API v3 at this address"),
        ] {
            keystone.fault(fault.clone()).await;
            let failure = ask(&client).await.unwrap_err();
            assert!(is_discreet(&failure).contains(says), "{fault:?}: {failure}");
            assert_eq!(failure.may_pass(), passes, "{fault:?}");
            keystone.heal().await;
            assert!(ask(&client).await.unwrap().is_some(), "{fault:?}");
        }
    });
}

#[test]
fn garbage_is_not_taken_for_an_answer() {
    run_test(async || {
        let keystone = Keystone::start().await;
        let client = client(&keystone);
        keystone.put(&thing(Kind::User, "u1", "alice"));
        keystone.put(&Thing { members: Some(vec!["u1".into()]), ..thing(Kind::Group, "g1", "admins") });
        for garbage in ["", "<html>", "null", "[]", "{}", r#"{"user": 1}"#, r#"{"user": {"name": "#, r#"{"users": {}}"#]
        {
            keystone.odd(|odd| odd.garbage = Some(garbage.into()));
            assert!(matches!(ask(&client).await, Err(Failure::Garbage { .. })), "{garbage}");
            let (outcome, things, _) = list(&client, Kind::Domain).await;
            assert!(matches!(outcome, Err(Failure::Garbage { .. })), "{garbage}");
            assert_eq!(things, []);
            assert!(matches!(client.members("g1").await, Err(Failure::Garbage { .. })), "{garbage}");
        }
        // Odd, but readable.
        let odd = r#"{"user": {"id": "u1", "name": 7, "domain_id": [], "enabled": "yes"}}"#;
        keystone.odd(|o| o.garbage = Some(odd.into()));
        let found = ask(&client).await.unwrap().unwrap();
        assert_eq!((found.name, found.domain_id, found.enabled), (None, None, None));
        let large = json!({"user": {"id": "u1", "name": "x".repeat(2 << 20)}});
        keystone.odd(|odd| odd.garbage = Some(large.to_string()));
        let failure = ask(&client).await.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "keystone's answer to read a user is larger than 1 MiB; set list_limit in keystone.conf"
        );
    });
}

#[test]
fn a_token_that_is_none_is_a_failed_login() {
    run_test(async || {
        let over = r#"{"token": {"expires_at": "2026-01-01T00:00:00Z", "issued_at": "2026-01-01T00:00:00Z", "user": {"id": "u"}}}"#;
        let never = r#"{"token": {"expires_at": "never", "user": {"id": "u"}}}"#;
        for garbage in ["", "<html>", "{}", r#"{"token": {}}"#, over, never] {
            let keystone = Keystone::start().await;
            keystone.odd(|odd| odd.login_garbage = Some(garbage.into()));
            let client = client(&keystone);
            let failure = client.log_in().await.unwrap_err();
            assert!(matches!(&failure, Failure::Garbage { what, .. } if what == "log in"), "{garbage}: {failure}");
            is_discreet(&failure);
            assert_eq!(ask(&client).await, Err(failure));
            assert_eq!(keystone.logins(), 1);
        }
    });
}

#[test]
fn pages_are_followed_to_their_end() {
    run_test(async || {
        let keystone = Keystone::start().await;
        let client = client(&keystone);
        for n in 0..25 {
            keystone.put(&thing(Kind::User, &format!("u{n}"), "x"));
        }
        keystone.odd(|odd| odd.page = Some(10));
        let (outcome, things, sizes) = list(&client, Kind::User).await;
        assert_eq!((outcome, things.len(), sizes), (Ok(()), 25, vec![10, 10, 5]));
        for (next, says) in [
            ("http://127.0.0.1:9/v3/users?marker=10", "leads elsewhere"),
            ("https://keystone.invalid/v3/users", "leads elsewhere"),
            ("/v3/users?marker=0", "round in a circle"),
            ("http://[", "no address"),
        ] {
            keystone.odd(|odd| odd.next = Some(next.into()));
            let (outcome, things, _) = list(&client, Kind::User).await;
            assert!(outcome.unwrap_err().to_string().contains(says), "{next}");
            // What there was before is not withheld.
            assert!(things.len() >= 10, "{next}");
        }
    });
}

#[test]
fn a_listing_that_is_cut_off_is_tried_by_domain_and_else_a_failure() {
    run_test(async || {
        let keystone = Keystone::start().await;
        for domain in ["d1", "d2"] {
            keystone.put(&thing(Kind::Domain, domain, domain));
            for n in 0..3 {
                let user = thing(Kind::User, &format!("{domain}-{n}"), "x");
                keystone.put(&Thing { domain_id: Some(domain.into()), ..user });
            }
        }
        keystone.odd(|odd| odd.cut_off_at = Some(3));
        let (outcome, mut things, _) = list(&client(&keystone), Kind::User).await;
        things.sort_by(|a, b| a.id.cmp(&b.id));
        things.dedup();
        assert_eq!((outcome, things.len()), (Ok(()), 6));
        keystone.odd(|odd| odd.cut_off_at = Some(2));
        let (outcome, things, _) = list(&client(&keystone), Kind::User).await;
        assert_eq!(outcome, Err(Failure::Truncated { what: "list users".into() }));
        assert!(things.len() >= 4, "{}", things.len());
    });
}

#[test]
fn drivers_for_each_domain_are_listed_domain_by_domain() {
    run_test(async || {
        for status in [400, 401, 403] {
            let keystone = Keystone::start().await;
            for domain in ["d1", "d2"] {
                keystone.put(&thing(Kind::Domain, domain, domain));
                keystone.put(&Thing { domain_id: Some(domain.into()), ..thing(Kind::User, domain, "x") });
                keystone.put(&Thing { domain_id: Some(domain.into()), ..thing(Kind::Group, domain, "x") });
            }
            keystone.odd(|odd| odd.by_domain = vec![("users".into(), status), ("groups".into(), status)]);
            let client = client(&keystone);
            for kind in [Kind::User, Kind::Group] {
                let (outcome, things, _) = list(&client, kind).await;
                assert_eq!((outcome, things.len()), (Ok(()), 2), "{status} {kind}");
            }
            // The second time nothing is refused any more: it is known.
            keystone.forget_requests();
            list(&client, Kind::User).await.0.unwrap();
            let asked = keystone.requests();
            assert!(asked.iter().all(|asked| asked.status == 200), "{status}: {asked:?}");
        }
    });
}

#[test]
fn a_domains_reader_lists_its_own_domain() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        keystone.put(&Thing { domain_id: Some("other".into()), ..thing(Kind::User, "u2", "bob") });
        keystone.odd(|odd| {
            odd.forbidden = vec!["/v3/domains".into()];
            odd.by_domain = vec![("users".into(), 403)];
        });
        let of_domain = Settings { scope: Scope::Domain(Domain::Id("default".into())), ..settings(&keystone) };
        let (outcome, things, _) = list(&Client::new(&of_domain).unwrap(), Kind::User).await;
        assert_eq!((outcome, things), (Ok(()), vec![thing(Kind::User, "u1", "alice")]));
        // Nobody's own: it says which right is missing.
        let (outcome, _, _) = list(&client(&keystone), Kind::User).await;
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "cadfd's user may not list domains: You are not authorized to perform the requested action; give it the \
             reader role at system scope"
        );
    });
}

#[test]
fn a_groups_members_are_bounded() {
    run_test(async || {
        let keystone = Keystone::start().await;
        let client = client(&keystone);
        let group = |count: usize| Thing {
            members: Some((0..count).map(|n| format!("u{n:05}")).collect()),
            ..thing(Kind::Group, "g1", "admins")
        };
        for count in [0, 3, MAX_MEMBERS] {
            keystone.put(&group(count));
            assert_eq!(client.members("g1").await, Ok(group(count).members), "{count}");
        }
        keystone.put(&group(MAX_MEMBERS + 1));
        assert_eq!(client.members("g1").await, Ok(None));
        keystone.odd(|odd| odd.page = Some(4000));
        assert_eq!(client.members("g1").await, Ok(None));
        keystone.put(&group(MAX_MEMBERS));
        assert_eq!(client.members("g1").await.unwrap().unwrap().len(), MAX_MEMBERS);
        assert_eq!(client.members("nobody").await, Ok(None));
        keystone.odd(|odd| odd.forbidden = vec!["/v3/groups".into()]);
        assert!(matches!(client.members("g1").await, Err(Failure::Forbidden { .. })));
    });
}

#[test]
fn tls_is_verified_and_the_client_may_show_a_certificate() {
    run_test(async || {
        let authority = Authority::new();
        let issued = authority.issue(&["localhost"]);
        let keystone = Keystone::start_with(0, Some(certificates::mutual(&authority, &issued))).await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        let failure = ask(&client(&keystone)).await.unwrap_err();
        assert!(failure.to_string().contains("certificate not trusted"), "{failure}");
        let shown = authority.issue(&["cadfd"]);
        let trusting = transport::Settings { ca_file: Some(authority.ca_file()), ..transport::Settings::default() };
        let showing = transport::Settings {
            cert_file: Some(shown.cert_file),
            key_file: Some(shown.key_file),
            ..trusting.clone()
        };
        let client = Client::new(&Settings { tls: trusting, ..settings(&keystone) }).unwrap();
        assert!(matches!(ask(&client).await, Err(Failure::Unreachable { .. })));
        let client = Client::new(&Settings { tls: showing, ..settings(&keystone) }).unwrap();
        assert!(ask(&client).await.unwrap().is_some());
    });
}

#[test]
fn the_stand_ins_settings_are_understood_by_cadfd() {
    run_test(async || {
        let keystone = Keystone::start().await;
        keystone.put(&thing(Kind::User, "u1", "alice"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rules.d")).unwrap();
        std::fs::write(dir.path().join("clouds.yaml"), keystone.clouds_yaml()).unwrap();
        let by_cloud = format!("[keystone]\ncloud = \"cadfd\"\nclouds_file = {:?}\n", dir.path().join("clouds.yaml"));
        for section in [keystone.settings(), by_cloud] {
            let path = dir.path().join("cadfd.toml");
            std::fs::write(&path, format!("[rabbitmq]\ntransport_url = \"rabbit://u:p@h/\"\n{section}")).unwrap();
            let config = cadfd::config::load(&path, &[]).unwrap_or_else(|problems| panic!("{problems}"));
            let found = config.keystone.unwrap().client;
            assert_eq!(*found.settings(), settings(&keystone));
            assert!(ask(&Client::new(found.settings()).unwrap()).await.unwrap().is_some());
        }
    });
}

/// What the lookup task relies on: all of it may be in a task of its own.
#[expect(dead_code, reason = "it is enough that it compiles")]
fn everything_may_be_spawned(client: Arc<Client>) {
    tokio::spawn(async move {
        let (sender, _receiver) = tokio::sync::mpsc::channel::<Vec<Thing>>(1);
        let _ = client
            .list(Kind::User, |page| {
                let sender = sender.clone();
                async move {
                    let _ = sender.send(page).await;
                }
            })
            .await;
        let _ = (client.get(Kind::User, "u", None).await, client.members("g").await, client.log_in().await);
    });
}
