//! Names that strangers chose, in every field, and what each action made of them; secrets, and where they must not be.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::daemon::{Site, assert_whole, of_type};
use crate::notification::{Notification, cadf, ids, v2};
use crate::run_test;
use crate::standins::{Call, Expect, Fault, Jenkins, Job, Receiver, Slack};

/// What a stranger may call himself.
fn hostile() -> Vec<String> {
    let mut names = [
        "two\nlines",
        "return\rback",
        "\u{1b}[2J\u{1b}[31mred",
        "c1 \u{9b}31m \u{85} \u{90}",
        "ls\u{2028}ps\u{2029}",
        "rlo\u{202e}txt.exe\u{2066}",
        "<!channel> <@U123> <#C123>",
        "<https://evil.example|click>",
        "&lt;!channel&gt;",
        "\"quotes\" 'and' `ticks`",
        "{{ 7*7 }}{% raw %}",
        "${jndi:ldap://evil.example/a}",
        "../../admin",
        "%2e%2e%2fadmin",
        "..\\admin",
        "a#b?c&d=e;f+g",
        "nul\0nul",
        "back\\slash\\n",
        "success: bob (e580) by admin",
        "\u{feff}\u{200b}zero",
        "x\r\nX-Injected: yes\r\n\r\nbody",
        "=cmd|'/c calc'!A1",
        "Zoë 山田 😀",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("long ".repeat(20_000));
    names
}

const RULES: &str = r#"
[[rule]]
name = "log"
  [[rule.log]]
  [[rule.log]]
  format = "logfmt"
  [[rule.log]]
  format = "json"
  [[rule.log]]
  text = "{{ initiator.name }} {{ initiator.agent }} {{ reason.text | default('-') }} {{ resource.id | default('-') }}"

[[rule]]
name = "act"
event_type = "identity.user.deleted"
  [[rule.slack]]
  [[rule.slack]]
  text = "{{ initiator.name }} of {{ initiator.project_name | default('-') }} deleted {{ resource.id }}, <https://ours.example/|look>"
  blocks = [{ type = "section", text = { type = "mrkdwn", text = "{{ initiator.agent }}" }, fields = [{ type = "mrkdwn", text = "{{ resource.id }}" }] }]
  [[rule.jenkins]]
  job = "hand_over"
  parameters = { USER_ID = "{{ resource.id }}", NAME = "{{ initiator.name | default('-') }}" }
  [[rule.http]]
  to = "x"
  query = { name = "{{ (initiator.name | default('-'))[:500] }}" }
  json = { name = "{{ initiator.name }}", text = "by {{ initiator.name | default('-') }}", id = "{{ resource.id }}" }
  [[rule.http]]
  to = "form"
  form = { name = "{{ initiator.name | default('-') }}" }
  [[rule.http]]
  to = "path"
  path = "/users/{{ resource.id }}"
  body = "none"
"#;

/// An event with this name wherever one can be; the id is its own where that is to be a path.
fn everywhere(event_type: &str, name: &str) -> Notification {
    let host = json!({"address": name, "agent": name});
    let credential = json!({"type": name, "identity_provider": name, "user": name, "groups": [name], "token": "t0ken-of-federation"});
    cadf(
        event_type,
        &json!({
            "initiator": {"id": name, "user_id": name, "name": name, "username": name, "user_name": name, "project_id": name,
                          "project_name": name, "domain_id": name, "domain_name": name, "host": host,
                          "credential": credential, "request_id": name},
            "target": {"id": name, "typeURI": name, "name": name},
            "resource_info": name,
            "outcome": "failure",
            "reason": {"reasonCode": name, "reasonType": name},
            "role": name, "user": name, "project": name, "action": name, "id": name,
        }),
    )
}

fn deceives(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[test]
#[expect(clippy::too_many_lines, reason = "one event, and all that was made of it")]
fn hostile_names_stay_names_in_every_action() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let (jenkins, slack) = (Jenkins::start().await, Slack::start().await);
        slack.limit_rate(false);
        jenkins.add(Job { queue_polls: 0, ..Job::parameterized("hand_over", &["USER_ID", "NAME"]) });
        let (x, form, path) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
        // All fields of 100 kB together are more than the default takes.
        let site = Site::new(&vhost)
            .variable("CADFD_RABBITMQ__MAX_BODY", "8 MiB")
            .settings(&format!(
                "[jenkins.ci]\nurl = {:?}\nuser = {:?}\ntoken = {:?}\nconcurrency = 32\n\
                 [slack.ops]\nwebhook_url = {:?}\nrate = \"unlimited\"\n\
                 [http.x]\nurl = \"{}/x\"\n[http.form]\nurl = \"{}/form\"\n[http.path]\nurl = \"{}/base/\"\nmethod = \"DELETE\"\n",
                jenkins.base_url(), Jenkins::USER, Jenkins::TOKEN, slack.webhook_url(), x.url(), form.url(), path.url()
            ))
            .rules(RULES);
        let mut daemon = site.consuming().await;
        let names = hostile();
        let types = [
            "identity.user.deleted",
            "identity.authenticate",
            "identity.role_assignment.created",
            "identity.project tag.created",
        ];
        let mut published: Vec<_> =
            types.iter().flat_map(|kind| names.iter().map(|name| everywhere(kind, name))).collect();
        // The publisher is no stranger, but its words are no more to be trusted.
        published.extend(names.iter().map(|name| {
            v2(&json!({"event_type": format!("x{name}.created"), "publisher_id": name, "priority": name, "timestamp": name,
                       "message_id": format!("id {}", name.chars().take(90).collect::<String>()),
                       "_context_user_name": name, "_context_project_name": name, "payload": {name.as_str(): name}}))
        }));
        vhost.publish("cadfd", &published).await;
        let deliveries = 6 * names.len();
        site.wait_events(&ids(&published)).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == deliveries).await;
        assert_whole(&trail, &ids(&published));

        // Standard output: one line each, nothing that moves a cursor.
        let out = daemon.wait_out(|out| out.lines().count() >= 4 * published.len()).await;
        assert_eq!(out.split_terminator('\n').count(), 4 * published.len());
        assert!(!out.contains(|letter| letter != '\n' && deceives(letter)));
        assert!(out.split_terminator('\n').skip(2).step_by(4).all(|json| serde_json::from_str::<Value>(json).is_ok()));
        assert!(!daemon.log().contains(|letter| letter != '\n' && deceives(letter)));

        // The trail: ASCII, one record a line, every name whole.
        let bytes = fs::read(site.audit_path()).unwrap();
        assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
        let events = of_type(&trail, "event");
        for (event, name) in events.iter().zip(&names) {
            let initiator = &event["initiator"];
            for field in ["name", "project_name", "domain_name", "address", "agent"] {
                assert_eq!(initiator[field], **name, "{field}");
            }
            assert_eq!((&event["resource"]["id"], &event["reason"]["text"]), (&json!(name), &json!(name)));
        }

        // Slack: no mention, no link but the rule's own, within its limits, which the stand-in insists on.
        let messages = slack.messages();
        assert_eq!(messages.len(), 2 * names.len());
        for message in &messages {
            assert_eq!(message.mentions, Vec::<String>::new(), "{}", message.text);
            assert!(message.links.iter().all(|link| link == "https://ours.example/|look"), "{:?}", message.links);
            assert!(message.text.chars().count() <= 4000);
        }
        // Nor a line, a format or a look of its own.
        assert!(
            messages.iter().all(|message| !message.text.contains(|letter| letter != '\u{2060}' && deceives(letter)))
        );
        let literal = cadfd::action::slack::literal("{{ 7*7 }}{% raw %}");
        assert!(
            messages
                .iter()
                .any(|message| message.text.starts_with(&format!("{literal} of {literal} deleted {literal},")))
        );

        // Jenkins: the rule's parameters, each with exactly its value.
        let pair = |name: &str, value: &String| (name.to_owned(), value.clone());
        let mut builds: Vec<_> = jenkins.builds().into_iter().map(|build| build.parameters).collect();
        let mut wanted: Vec<_> = names.iter().map(|name| vec![pair("USER_ID", name), pair("NAME", name)]).collect();
        builds.sort();
        wanted.sort();
        assert_eq!(builds, wanted);

        // HTTP: values exact, headers ours alone.
        for call in x.calls() {
            let (body, query) = (call.json(), &call.query);
            let name = body["name"].as_str().unwrap().to_owned();
            assert!(names.contains(&name));
            assert_eq!(body, json!({"name": name, "text": format!("by {name}"), "id": name}));
            if name.len() < 500 {
                assert_eq!(*query, [pair("name", &name)]);
            }
            let mut headers: Vec<_> = call.headers.keys().map(|name| name.as_str().to_owned()).collect();
            headers.sort();
            let own = [
                "accept",
                "content-length",
                "content-type",
                "host",
                "idempotency-key",
                "user-agent",
                "x-cadfd-delivery",
            ];
            assert_eq!(headers, own);
            assert_eq!(call.path, "/x");
        }
        assert_eq!(x.calls().len(), names.len());
        let mut forms: Vec<_> = form.calls().iter().map(Call::form).collect();
        let mut wanted: Vec<_> = names.iter().map(|name| vec![pair("name", name)]).collect();
        forms.sort();
        wanted.sort();
        assert_eq!(forms, wanted);

        // A path stays where the rule put it; one that no URL can hold is given up.
        let mut paths: Vec<_> = path.calls().into_iter().map(|call| call.path).collect();
        for path in &mut paths {
            let segment = path.strip_prefix("/base/users/").unwrap();
            assert!(!segment.contains('/'), "{path}");
            *path = percent_encoding::percent_decode_str(segment).decode_utf8().unwrap().into_owned();
        }
        let mut wanted: Vec<_> = names.iter().filter(|name| name.len() < 10_000).cloned().collect();
        paths.sort();
        wanted.sort();
        assert_eq!(paths, wanted);
        let failed: Vec<_> = of_type(&trail, "delivery").into_iter().filter(|it| it["outcome"] != "done").collect();
        assert_eq!(failed.len(), 1, "{failed:#?}");
        assert_eq!(failed[0]["destination"], "http.path");

        let shown = site.cadfd_ok(&["outbox", "show", "--all"]).await + &site.cadfd_ok(&["outbox", "list"]).await;
        assert!(!shown.contains(|letter| letter != '\n' && deceives(letter)));
        daemon.stop().await;
    });
}

#[test]
fn dots_in_a_name_lead_nowhere() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let receiver = Receiver::start().await;
        let rule =
            "[[rule]]\nname = \"path\"\n[[rule.http]]\npath = \"/users/{{ initiator.name | default('-') }}/servers\"\n";
        let settings = format!("[http.x]\nurl = \"{}/base\"\n", receiver.url());
        let site = Site::new(&vhost)
            .settings(&settings)
            .rules(&rule.replace("\n[[rule.http]]", "\nevent_type = \"identity.user.deleted\"\n[[rule.http]]"));
        let daemon = site.consuming().await;
        vhost.publish("cadfd", ["..", ".", "fine"].map(|name| everywhere("identity.user.deleted", name))).await;
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 3).await;
        let errors = of_type(&trail, "event").iter().filter(|event| event["planned"][0]["error"].is_string()).count();
        assert_eq!((errors, receiver.attempts()), (2, vec!["POST /base/users/fine/servers".to_owned()]));
        daemon.stop().await;
    });
}

/// Every byte in a folder, whatever the files are.
fn bytes_below(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(bytes_below(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn secrets_are_nowhere_but_where_they_are_used() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let (jenkins, slack) = (Jenkins::start().await, Slack::start().await);
        let (bearer, signed) = (Receiver::start().await, Receiver::start().await);
        // These refuse, and quote what they got, as debugging receivers do.
        bearer.expect(Expect::Bearer("another".into()));
        signed.expect(Expect::Basic("some".into(), "one".into()));
        slack.fault(Fault::Down).await;
        let of_ours = [
            "s3cr3t-pa55",
            Jenkins::TOKEN,
            "sL4ckWebhookTokenHunter2",
            "b3arer-0f-cadfd",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "qu3ry-k3y-0f-0urs",
            "h3ader-0f-0urs",
        ];
        let site = Site::new(&vhost)
            .settings(&format!(
                "[jenkins.ci]\nurl = {:?}\nuser = {:?}\ntoken = {:?}\n[slack.ops]\nwebhook_url = {:?}\n\
                 [http.bearer]\nurl = \"{}/?key=qu3ry-k3y-0f-0urs\"\nbearer = \"b3arer-0f-cadfd\"\n\
                 [http.signed]\nurl = \"{}/\"\nsigning_secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nheaders = {{ X-Key = \"h3ader-0f-0urs\" }}\n\
                 [daemon]\nlog_level = \"trace\"\n",
                jenkins.base_url(), Jenkins::USER, Jenkins::TOKEN, slack.webhook_url(), bearer.url(), signed.url()
            ))
            .rules("[[rule]]\nname = \"all\"\n[[rule.log]]\nformat = \"json\"\n[[rule.jenkins]]\njob = \"none\"\nparameters = { ALL = \"{{ payload }}{{ context }}\" }\n[[rule.slack]]\ntext = \"{{ payload }}\"\n[[rule.http]]\nto = \"bearer\"\n[[rule.http]]\nto = \"signed\"\njson = { context = \"{{ context }}\", payload = \"{{ payload }}\" }\n");
        let of_events = ["t0ken-of-federation", "t0ken-of-context", "h4sh-0f-pa55word", "pl4in-pa55word", "adm1n-pa55"];
        let documented = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/notifications/documented/authenticate-federated.json");
        let federated = fs::read(documented).unwrap();
        let attachment =
            json!([{"name": "partial_password_hash", "typeURI": "mime:text/plain", "content": "h4sh-0f-pa55word"}]);
        let published = [
            everywhere("identity.authenticate", "bob").body,
            cadf("identity.authenticate", &json!({"outcome": "failure", "attachments": attachment, "nested": [{"partial_password_hash": "h4sh-0f-pa55word"}]})).body,
            v2(&json!({"event_type": "compute.instance.create.end", "_context_auth_token": "t0ken-of-context", "_context_user_name": "bob",
                       "payload": {"adminPass": "adm1n-pa55", "user": {"password": "pl4in-pa55word", "Original_Password": "pl4in-pa55word"}}})).body,
            federated,
        ];
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", &published).await;
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 3 * published.len()).await;
        daemon.wait_log("destination lost: ").await;
        let out = daemon.wait_out(|out| out.lines().count() == published.len()).await;

        fs::write(site.path("messages"), published.join(&b'\n')).unwrap();
        let messages = site.path("messages").display().to_string();
        let mut seen =
            vec![("standard output".to_owned(), out.into_bytes()), ("log".to_owned(), daemon.log().into_bytes())];
        for args in [
            &["explain", &messages][..],
            &["explain", "--json", &messages],
            &["outbox", "show"],
            &["outbox", "list", "--json"],
            &["check"],
        ] {
            seen.push((args.join(" "), site.cadfd_ok(args).await.into_bytes()));
        }
        seen.extend(bytes_below(&site.state_dir()));
        daemon.kill().await;
        seen.extend(bytes_below(&site.state_dir()));
        seen.extend(bytes_below(&site.path("log")));
        assert!(
            seen.iter().any(|(name, bytes)| name.ends_with("-wal") && !bytes.is_empty()),
            "the store's files were looked at"
        );
        let federated_token = "671da331c47d4e29bb6ea1d270154ec3";
        for (place, bytes) in &seen {
            for secret in of_ours.iter().chain(&of_events).chain([&federated_token]) {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} in {place}");
            }
        }
        let shown = seen.iter().find(|(place, _)| place == "outbox show").unwrap();
        assert!(String::from_utf8_lossy(&shown.1).contains("who are you?"), "the receivers did quote");
        assert!(String::from_utf8_lossy(&shown.1).contains("***"));
    });
}
