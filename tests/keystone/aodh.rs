//! `config/examples/aodh.toml` as it is shipped, against a real Keystone: what Ceilometer, Aodh, a proxy and Jenkins did.
//!
//! Its promise: but for addresses and secrets, nothing of the file is changed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::broker::Broker;
use crate::daemon::{Site, of_type};
use crate::example::Example;
use crate::keystone::{Format, Keystone, Options};
use crate::run_test;
use crate::stage::{READER, log_in};
use crate::standins::{Jenkins, Job, Slack};

fn example(keystone: &Keystone, jenkins: &Jenkins, slack: &Slack) -> Example {
    let (reader, password) = READER;
    Example::read("aodh.toml")
        .with("https://jenkins.example.org", &jenkins.base_url())
        .with("user = \"cadfd\"\ntoken", &format!("user = {:?}\ntoken", Jenkins::USER))
        .secret("token", "jenkins.token", Jenkins::TOKEN)
        .secret("webhook_url", "slack.url", &slack.webhook_url())
        .with("https://keystone.example.org:5000/v3", keystone.url())
        .with("username = \"cadfd\"", &format!("username = {reader:?}"))
        // Events wait for their names however slow it is here.
        .with(
            "password_file = \"%d/keystone.password\"",
            &format!("password = {password:?}\nwait = \"30s\"\ntimeout = \"30s\""),
        )
}

#[test]
fn a_deleted_user_is_handed_over() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        let keystone = Keystone::start(&vhost, Options { format: Format::Cadf, everything: false }).await;
        let mut api = Api::new(keystone.url().to_owned());
        let known = log_in(&mut api).await;
        let (jenkins, slack) = (Jenkins::start().await, Slack::start().await);
        jenkins.add(Job::parameterized("transfer_ownership", &["INITIATOR_ID", "USER_ID", "PROJECT_ID"]));
        let example = example(&keystone, &jenkins, &slack);
        let site = Site::new(&vhost).settings(&example.settings).rules(&example.rules);
        let daemon = site.consuming().await;

        let user = json!({"user": {"name": "alice", "domain_id": "default", "password": "alice-pa55w0rd"}});
        let made = api.demand("admin", Method::POST, "/users", Some(&user), 201).await;
        let alice = made.body["user"]["id"].as_str().unwrap().to_owned();
        // Somebody whom cadfd has seen, as it has all whom Keystone lists.
        let is_known = |it: &&Value| it["event_type"] == "identity.user.created" && it["resource"]["name"] == "alice";
        site.wait_trail(|trail| of_type(trail, "event").iter().any(is_known)).await;
        api.demand("admin", Method::DELETE, &format!("/users/{alice}"), None, 204).await;

        let builds = jenkins.wait_for(1).await;
        let messages = slack.wait_for(1).await;
        let is_settled = |trail: &[Value]| of_type(trail, "delivery").len() == 2;
        let trail = site.wait_trail(is_settled).await;
        daemon.stop().await;

        let wanted = [("INITIATOR_ID", &known["admin"]), ("USER_ID", &alice), ("PROJECT_ID", &known["admin_project"])];
        let wanted: Vec<_> = wanted.map(|(name, id)| (name.to_owned(), id.clone())).into();
        assert_eq!(builds.len(), 1, "{builds:?}");
        assert_eq!((builds[0].job.as_str(), &builds[0].parameters), ("transfer_ownership", &wanted));

        let of = |to: &str| of_type(&trail, "delivery").into_iter().find(|it| it["destination"] == to).unwrap().clone();
        let build = of("jenkins.ci");
        assert_eq!((&build["outcome"], &build["event_type"]), (&json!("done"), &json!("identity.user.deleted")));
        assert_eq!(
            (&build["detail"]["build"], &build["detail"]["result"]),
            (&json!(builds[0].number), &json!("SUCCESS"))
        );
        assert_eq!(of("slack.ops")["outcome"], "done");

        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(messages[0].text, "admin deleted user alice; what the user owned goes to project admin");
    });
}
