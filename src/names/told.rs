//! What an event says about names, what it asks for, and the names written into it.
//!
//! Its promise: pure; a name that the message has is left as it is; what a stranger typed is never learnt.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use super::book::{Book, SKEW};
use crate::event::{Assignment, Change, Event, Origin, Outcome, Reference};
use crate::name::{Before, How, Kind, Known, Thing};

/// Longer ids than Keystone can have are not asked for.
const LONGEST_ID: usize = 255;

/// One thing that is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Want {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Whose it is, where it can only be asked for by that.
    pub owner: Option<String>,
    /// It was just created or changed: what is known of it is old.
    pub is_news: bool,
}

/// What an event asks Keystone for.
#[must_use]
pub(super) fn wants(event: &mut Event, book: &Book) -> Vec<Want> {
    let news = news(event).map(|(kind, id)| (kind, id.to_owned()));
    let gone = (event.operation == "deleted").then(|| event.resource.id.clone()).flatten();
    let owner = event.initiator.id.clone();
    let mut wants: Vec<_> = mentioned(event)
        .into_iter()
        .filter(|it| it.name.is_none() && gone.as_deref() != Some(it.id) && !is_known(book, it.kind, it.id))
        .filter(|it| news.as_ref().is_none_or(|(kind, id)| (it.kind, it.id) != (*kind, id.as_str())))
        .map(|it| Want { kind: it.kind, id: it.id.to_owned(), owner: None, is_news: false })
        .collect();
    if let Some((kind, id)) = news {
        let owner = owner.filter(|_| kind == Kind::ApplicationCredential);
        wants.push(Want { kind, id, owner, is_news: true });
    }
    wants.retain(|want| {
        // Nothing but its owner leads to it.
        let is_found = want.kind != Kind::ApplicationCredential || want.owner.is_some();
        is_found && want.id.len() <= LONGEST_ID
    });
    wants
}

fn is_known(book: &Book, kind: Kind, id: &str) -> bool {
    book.get(kind, id).is_some_and(|known| known.thing.name.is_some() || known.deleted.is_some())
}

/// What the event says was created or changed.
pub(super) fn news(event: &Event) -> Option<(Kind, &str)> {
    let is_news = matches!(event.operation.as_str(), "created" | "updated") && event.outcome != Outcome::Failure;
    if is_news { subject(event) } else { None }
}

/// What it happened to, if that is a thing that names are known of.
fn subject(event: &Event) -> Option<(Kind, &str)> {
    let kind = kind_of_subject(event)?;
    Some((kind, event.resource.id.as_deref().filter(|id| !id.is_empty())?))
}

/// Other services have users and projects of their own.
fn kind_of_subject(event: &Event) -> Option<Kind> {
    if event.event_type.starts_with("identity.") { Kind::of(&event.resource.kind) } else { None }
}

/// A place in an event where a name belongs to an id.
struct Mention<'a> {
    field: &'static str,
    kind: Kind,
    id: &'a str,
    name: &'a mut Option<String>,
}

impl<'a> Mention<'a> {
    fn of(field: &'static str, kind: Kind, id: Option<&'a str>, name: &'a mut Option<String>) -> Option<Self> {
        Some(Self { field, kind, id: id?, name })
    }
}

/// All that the event mentions by id.
fn mentioned(event: &mut Event) -> Vec<Mention<'_>> {
    let of_subject = kind_of_subject(event);
    let Event { initiator, resource, assignment, member, .. } = event;
    let mut all = Vec::with_capacity(8);
    all.extend([
        Mention::of("initiator.name", Kind::User, initiator.id.as_deref(), &mut initiator.name),
        Mention::of(
            "initiator.project_name",
            Kind::Project,
            initiator.project_id.as_deref(),
            &mut initiator.project_name,
        ),
        Mention::of("initiator.domain_name", Kind::Domain, initiator.domain_id.as_deref(), &mut initiator.domain_name),
    ]);
    all.extend(of_subject.map(|kind| Mention::of("resource.name", kind, resource.id.as_deref(), &mut resource.name)));
    if let Some(Assignment { role, user, group, project, domain, inherited: _ }) = assignment {
        for (field, kind, reference) in [
            ("assignment.role.name", Kind::Role, role),
            ("assignment.user.name", Kind::User, user),
            ("assignment.group.name", Kind::Group, group),
            ("assignment.project.name", Kind::Project, project),
            ("assignment.domain.name", Kind::Domain, domain),
        ] {
            all.extend(reference.as_mut().map(|Reference { id, name }| Some(Mention { field, kind, id, name })));
        }
    }
    all.extend(member.as_mut().map(|it| Mention::of("member.name", Kind::User, it.id.as_deref(), &mut it.name)));
    all.into_iter().flatten().filter(|mention| !mention.id.is_empty()).collect()
}

/// What an event teaches by itself, in the order of the events: names that Keystone gave with an id, and deletions.
pub(super) fn learn(event: &Event, book: &mut Book, received: Timestamp) -> Vec<Known> {
    if !event.event_type.starts_with("identity.") {
        return Vec::new();
    }
    let at = time(event, received);
    let mut learnt = Vec::new();
    let initiator = &event.initiator;
    // An unknown user has no id here, and a federated one's may be the provider's.
    if initiator.federation.is_none()
        && let (Some(id), Some(name)) = (&initiator.id, &initiator.name)
    {
        learnt.extend(book.hear(Kind::User, id, name, at));
    }
    // Where a login named a domain with its id; never over what Keystone itself said.
    if let (Some(id), Some(name)) = (&initiator.domain_id, &initiator.domain_name)
        && book.get(Kind::Domain, id).is_none_or(|known| known.how == How::Event)
    {
        learnt.extend(book.hear(Kind::Domain, id, name, at));
    }
    match (subject(event), event.operation.as_str()) {
        (Some((kind, id)), "deleted") if event.outcome != Outcome::Failure => learnt.extend(book.delete(kind, id, at)),
        (Some((kind, id)), "created") => book.create(kind, id, at),
        _ => {}
    }
    learnt
}

/// When it happened, by the publisher's clock, which may be wrong, but not ahead of ours by more than clocks are apart.
fn time(event: &Event, received: Timestamp) -> Timestamp {
    event.timestamp.map_or(received, |at| at.min(received + SKEW))
}

/// Writes what the update changed into the event, if Keystone has told of the thing since it was `asked`. The thing whose
/// change is told by this event, and by no other when it is kept.
pub(super) fn compare(
    event: &mut Event,
    book: &mut Book,
    (received, repeat): (Timestamp, bool),
    asked: Timestamp,
) -> Option<(Kind, String)> {
    if event.operation != "updated" {
        return None;
    }
    let (kind, id) = news(event).map(|(kind, id)| (kind, id.to_owned()))?;
    let is_answered = |known: &Known| known.how != How::Event && known.at >= asked;
    if !book.get(kind, &id).is_some_and(is_answered) {
        book.untold(kind, &id);
        return None;
    }
    let before = book.claim_before(kind, &id, time(event, received), repeat)?;
    event.change = Some(change(&before, &book.get(kind, &id)?.thing, book));
    (!repeat).then_some((kind, id))
}

fn change(old: &Before, new: &Thing, book: &Book) -> Change {
    let is_renamed = old.name.is_some() && new.name != old.name;
    let (was, is) = (old.members.as_deref(), new.members.as_deref());
    // What is in the second and not in the first.
    let beyond = |first: Option<&[String]>, second: Option<&[String]>| match (first, second) {
        (Some(first), Some(second)) => {
            let known: HashSet<_> = first.iter().collect();
            second.iter().filter(|id| !known.contains(id)).map(|id| referred(id, book)).collect()
        }
        _ => Vec::new(),
    };
    Change {
        derived: true,
        enabled: new.enabled.filter(|enabled| old.enabled.is_some_and(|was| was != *enabled)),
        name: new.name.clone().filter(|_| is_renamed),
        old_name: old.name.clone().filter(|_| is_renamed),
        added: beyond(was, is),
        removed: beyond(is, was),
        since: old.since,
        until: old.until,
    }
}

fn referred(id: &str, book: &Book) -> Reference {
    Reference { id: id.to_owned(), name: book.get(Kind::User, id).and_then(|known| known.thing.name.clone()) }
}

/// Writes names into the event where it has none, and where they are from.
pub fn fill(event: &mut Event, book: &Book) {
    let mut names = BTreeMap::new();
    for Mention { field, kind, id, name } in mentioned(event) {
        if name.is_none()
            && let Some(known) = book.get(kind, id)
            && known.thing.name.is_some()
        {
            name.clone_from(&known.thing.name);
            names.insert(field, Origin { how: known.how, at: known.at, deleted: known.deleted });
        }
    }
    event.names = names;
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::event::decode;

    fn at(minute: i64) -> Timestamp {
        "2026-11-21T07:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute)
    }

    /// A CADF event, its payload's further members given.
    fn event(event_type: &str, payload: &str) -> Event {
        let body = format!(
            r#"{{"message_id":"m","publisher_id":"identity.k","event_type":"{event_type}","priority":"INFO",
               "timestamp":"2026-11-21 07:03:00","payload":{{"typeURI":"http://schemas.dmtf.org/cloud/audit/1.0/event",
               "eventType":"activity","outcome":"success",{payload}}}}}"#
        );
        decode(body.as_bytes()).unwrap()
    }

    fn by(initiator: &str) -> String {
        format!(r#""initiator":{{"id":"{initiator}","user_id":"{initiator}"}}"#)
    }

    fn thing(kind: Kind, id: &str, name: &str) -> Thing {
        let (id, name) = (id.to_owned(), Some(name.to_owned()));
        Thing { kind, id, name, domain_id: None, enabled: Some(true), members: None }
    }

    fn asked(event: &mut Event, book: &Book) -> Vec<(Kind, String, bool)> {
        wants(event, book).into_iter().map(|want| (want.kind, want.id, want.is_news)).collect()
    }

    #[test]
    fn what_is_unknown_or_new_is_asked_for_and_nothing_else() {
        let mut book = Book::default();
        let mut created = event("identity.user.created", &format!(r#""resource_info":"bob",{}"#, by("admin")));
        let user = |id: &str, is_news| (Kind::User, id.to_owned(), is_news);
        assert_eq!(asked(&mut created, &book), [user("admin", false), user("bob", true)]);
        book.learn(thing(Kind::User, "admin", "root"), How::Listing, at(0));
        book.learn(thing(Kind::User, "bob", "bob"), How::Listing, at(0));
        assert_eq!(asked(&mut created, &book), [user("bob", true)], "what was created may have another name by now");
        let mut deleted = event("identity.user.deleted", &format!(r#""resource_info":"eve",{}"#, by("mallory")));
        assert_eq!(asked(&mut deleted, &book), [user("mallory", false)], "Keystone no longer knows it");
        let mut role = event(
            "identity.role_assignment.created",
            &format!(r#""role":"r","user":"bob","project":"p","inherited_to_projects":false,{}"#, by("admin")),
        );
        let of_role = [(Kind::Role, "r".to_owned(), false), (Kind::Project, "p".to_owned(), false)];
        assert_eq!(asked(&mut role, &book), of_role);
        let mut foreign = event("compute.user.created", &format!(r#""target":{{"id":"9"}},{}"#, by("admin")));
        assert_eq!(asked(&mut foreign, &book), [], "Nova's users are not Keystone's");
    }

    #[test]
    fn an_application_credential_is_asked_for_by_its_owner() {
        let payload = |initiator: &str| format!(r#""resource_info":"ac"{initiator}"#);
        let mut named = event("identity.application_credential.created", &payload(&format!(",{}", by("bob"))));
        let wants_ = wants(&mut named, &Book::default());
        let wanted = wants_.iter().find(|want| want.kind == Kind::ApplicationCredential).unwrap();
        assert_eq!(wanted.owner.as_deref(), Some("bob"));
        let mut unnamed = event("identity.application_credential.created", &payload(""));
        assert_eq!(asked(&mut unnamed, &Book::default()), []);
    }

    #[test]
    fn a_name_with_its_id_is_learnt_and_a_typed_one_never() {
        let mut book = Book::default();
        let known = r#""initiator":{"id":"bob","user_id":"bob","name":"Bob"}"#;
        assert_eq!(learn(&event("identity.authenticate", known), &mut book, at(0)).len(), 1);
        assert_eq!(book.get(Kind::User, "bob").unwrap().thing.name.as_deref(), Some("Bob"));
        // The UUID is one that pyCADF makes up.
        let typed = r#""initiator":{"id":"61402033-6ad1-525b-8014-38b701b458b8","user_name":"admin","domain_id":"d1",
                     "domain_name":"acme"}"#;
        let learnt = learn(&event("identity.authenticate", typed), &mut book, at(0));
        assert_eq!(learnt.iter().map(|known| known.thing.kind).collect::<Vec<_>>(), [Kind::Domain]);
        book.learn(thing(Kind::Domain, "d1", "ACME"), How::Lookup, at(1));
        assert_eq!(learn(&event("identity.authenticate", typed), &mut book, at(9)), [], "Keystone said otherwise");
        // Who is logged in tries another's name: Keystone tells both.
        let tried = r#""initiator":{"id":"mallory","user_id":"mallory","user_name":"admin","domain_id":"d1"}"#;
        assert_eq!(learn(&event("identity.authenticate", tried), &mut book, at(9)), []);
        let foreign = event("compute.instance.create", known);
        assert_eq!(learn(&foreign, &mut Book::default(), at(0)), [], "another service may name whom it likes");
    }

    #[test]
    fn a_deleted_user_is_told_by_its_last_name_and_so_is_when_it_was_known() {
        let mut book = Book::default();
        book.learn(thing(Kind::User, "bob", "Bob"), How::Listing, at(0));
        let mut deleted = event("identity.user.deleted", &format!(r#""resource_info":"bob",{}"#, by("admin")));
        let learnt = learn(&deleted, &mut book, at(5));
        assert_eq!(learnt[0].deleted, Some(at(3)), "Keystone's time, not ours");
        fill(&mut deleted, &book);
        assert_eq!(deleted.resource.name.as_deref(), Some("Bob"));
        let origin = Origin { how: How::Listing, at: at(0), deleted: Some(at(3)) };
        assert_eq!(deleted.names, BTreeMap::from([("resource.name", origin)]));
        assert_eq!(deleted.initiator.name, None);
    }

    #[test]
    fn a_publisher_s_clock_is_not_believed_beyond_reason() {
        let mut book = Book::default();
        let mut login = event("identity.authenticate", r#""initiator":{"id":"bob","user_id":"bob","name":"Bob"}"#);
        login.timestamp = Some("2099-01-01T00:00:00Z".parse().unwrap());
        learn(&login, &mut book, at(0));
        assert_eq!(book.get(Kind::User, "bob").unwrap().at, at(5));
    }

    #[test]
    fn whoever_did_it_at_another_service_is_told_and_asked_for_by_name() {
        let body = r#"{"message_id":"m","event_type":"volume.create.end","priority":"INFO","_context_user_id":"bob",
            "_context_project_id":"p1","payload":{"volume_id":"v1","user_id":"eve","tenant_id":"p2"}}"#;
        let mut created = decode(body.as_bytes()).unwrap();
        let mut book = Book::default();
        book.learn(thing(Kind::User, "bob", "Bob"), How::Lookup, at(0));
        let wanted = wants(&mut created, &book);
        assert_eq!(wanted.iter().map(|want| (want.kind, &*want.id)).collect::<Vec<_>>(), [(Kind::Project, "p1")]);
        book.learn(thing(Kind::Project, "p1", "acme"), How::Lookup, at(0));
        fill(&mut created, &book);
        let (name, project_name) = (created.initiator.name, created.initiator.project_name);
        assert_eq!((name.as_deref(), project_name.as_deref()), (Some("Bob"), Some("acme")));
    }

    #[test]
    fn a_name_in_the_message_stays() {
        let mut book = Book::default();
        book.learn(thing(Kind::User, "bob", "robert"), How::Lookup, at(9));
        let mut login = event("identity.authenticate", r#""initiator":{"id":"bob","user_id":"bob","name":"Bob"}"#);
        fill(&mut login, &book);
        assert_eq!((login.initiator.name.as_deref(), login.names.len()), (Some("Bob"), 0));
    }

    #[test]
    fn a_change_is_what_differs_between_two_answers() {
        let updated = || event("identity.user.updated", &format!(r#""resource_info":"bob",{}"#, by("admin")));
        let mut book = Book::default();
        book.learn(thing(Kind::User, "bob", "Bob"), How::Listing, at(0));
        let mut first = updated();
        book.learn(Thing { enabled: Some(false), ..thing(Kind::User, "bob", "Robert") }, How::Lookup, at(3));
        assert!(compare(&mut first, &mut book, (at(3), false), at(3)).is_some());
        let change = first.change.unwrap();
        assert_eq!((change.derived, change.enabled), (true, Some(false)));
        assert_eq!((change.name.as_deref(), change.old_name.as_deref()), (Some("Robert"), Some("Bob")));
        assert_eq!((change.since, change.until), (at(0), at(3)));
        let mut second = updated();
        compare(&mut second, &mut book, (at(3), false), at(3));
        assert_eq!(second.change, None, "told already");
        let mut third = updated();
        compare(&mut third, &mut book, (at(4), false), at(4));
        assert_eq!(third.change, None, "no answer since it was asked for");
    }

    #[test]
    fn who_came_into_a_group_is_told_by_name() {
        let group = |members: &[&str]| Thing {
            members: Some(members.iter().map(|id| (*id).to_owned()).collect()),
            ..thing(Kind::Group, "g", "ops")
        };
        let mut book = Book::default();
        book.learn(thing(Kind::User, "bob", "Bob"), How::Listing, at(0));
        book.learn(group(&["eve"]), How::Listing, at(0));
        book.learn(group(&["bob"]), How::Lookup, at(3));
        let mut updated = event("identity.group.updated", &format!(r#""resource_info":"g",{}"#, by("admin")));
        compare(&mut updated, &mut book, (at(3), false), at(3));
        let change = updated.change.unwrap();
        assert_eq!(change.added, [Reference { id: "bob".into(), name: Some("Bob".into()) }]);
        assert_eq!(change.removed, [Reference { id: "eve".into(), name: None }]);
        assert_eq!((change.enabled, change.name), (None, None));
    }
}
