#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn head(kind: &str) -> Head<'_> {
    Head {
        facility: Facility::AUTHPRIV,
        severity: Severity::Warning,
        at: Some("2026-11-21T07:03:23.274482Z".parse().unwrap()),
        host: "controller-1",
        process: 4711,
        kind,
        sd_id: "cadfd@32473",
    }
}

fn pairs(data: &[(&str, &str)]) -> Vec<(String, String)> {
    data.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_message_is_as_the_rfc_has_it() {
    let data = pairs(&[("outcome", "failure"), ("initiator.id", r#"a"b\c]d"#)]);
    assert_eq!(
        message(&head("identity.authenticate"), &data, "bob came in", 8192),
        "<84>1 2026-11-21T07:03:23.274482Z controller-1 cadfd 4711 identity.authenticate \
         [cadfd@32473 outcome=\"failure\" initiator.id=\"a\\\"b\\\\\\\\c\\]d\"] bob came in"
    );
    assert_eq!(
        message(&Head { at: None, host: "", process: 1, ..head("") }, &[], "Zoë", 8192),
        "<84>1 - - cadfd 1 - - \u{feff}Zoë"
    );
}

#[test]
fn what_is_no_name_is_made_one() {
    let long = message(&Head { host: "höst 1", ..head("identity.project tag.created.and.much.more") }, &[], "x", 480);
    assert!(long.contains(" h_st_1 cadfd 4711 identity.project_tag.created.and - x"), "{long}");
    // Of another year than four digits are enough for.
    let early = Head { at: Some("-000044-03-15T12:00:00Z".parse().unwrap()), ..head("x") };
    assert!(message(&early, &[], "x", 480).starts_with("<84>1 - controller-1 "));
}

#[test]
fn the_numbers_are_syslogs() {
    for (at, (name, severity)) in Severity::ALL.into_iter().enumerate() {
        assert_eq!((severity as usize, serde_json::json!(severity)), (at, serde_json::json!(name)));
    }
    for (name, facility) in Facility::ALL {
        assert_eq!(serde_json::to_value(facility).unwrap(), name);
        assert_eq!(serde_json::from_value::<Facility>(name.into()).unwrap(), facility);
    }
    assert!(serde_json::from_value::<Facility>("kern".into()).is_err());
    let local7 = Facility::ALL[19].1;
    let worst = Head { facility: local7, severity: Severity::Debug, ..head("x") };
    assert!(message(&worst, &[], "x", 480).starts_with("<191>1 "));
}

#[test]
fn one_long_value_leaves_room_for_the_rest() {
    let data = pairs(&[("a", &"x".repeat(5_000)), ("b", "kept")]);
    let long = message(&head("x"), &data, &"y".repeat(50_000), 2048);
    assert!(long.contains(&format!("{}…\" b=\"kept\"] \u{feff}yyyy", "x".repeat(LONGEST_VALUE - 3))), "{long}");
    assert!(long.ends_with("y…") && long.len() == 2048, "{}", long.len());
}

#[test]
fn names_are_the_rfcs() {
    for name in ["message_id", "initiator.id", "x", "a\u{7e}", "12345678901234567890123456789012"] {
        assert_eq!(check_name(name), Ok(()));
    }
    for name in ["", "a b", "a=b", "a]", "a\"", "ü", "a\n", "123456789012345678901234567890123"] {
        assert!(check_name(name).is_err(), "{name}");
    }
    for id in ["cadfd@32473", "x@1.2.3"] {
        assert_eq!(check_id(id), Ok(()));
    }
    for id in ["cadfd", "@1", "cadfd@", "cadfd@x", "cadfd@1.", "c@1@2"] {
        assert!(check_id(id).is_err(), "{id}");
    }
}

/// The parts of a message, by the RFC's grammar and nothing else: header, parameters, text.
fn parsed(message: &str) -> (Vec<&str>, Vec<(String, String)>, Option<&str>) {
    let parts: Vec<_> = message.splitn(7, ' ').collect();
    let (header, rest) = (parts[..6].to_vec(), parts[6]);
    if let Some(text) = rest.strip_prefix('-') {
        return (header, Vec::new(), text.strip_prefix(' '));
    }
    let mut rest = rest.strip_prefix("[cadfd@32473").unwrap();
    let mut data = Vec::new();
    while let Some(parameter) = rest.strip_prefix(' ') {
        let (name, after) = parameter.split_once("=\"").unwrap();
        let (mut value, mut letters) = (String::new(), after.chars());
        loop {
            match letters.next().unwrap() {
                '"' => break,
                '\\' => value.push(letters.next().unwrap()),
                letter => {
                    assert_ne!(letter, ']', "without a backslash: {message}");
                    value.push(letter);
                }
            }
        }
        data.push((name.to_owned(), value));
        rest = letters.as_str();
    }
    (header, data, rest.strip_prefix(']').unwrap().strip_prefix(' '))
}

proptest! {
    #[test]
    fn hostile_values_end_nothing(
        values in prop::collection::vec("(\\PC|[\"\\\\\\]=\\[ \n\r\0\u{feff}\u{202e}]){0,60}", 0..6),
        text in "(\\PC|[\"\\\\\\]\n\r\0<>]){0,200}",
        kind in "(\\PC|[\n ]){0,50}",
        host in "(\\PC|[\n ]){0,300}",
        limit in SHORTEST_LIMIT..3000usize,
    ) {
        let data: Vec<_> = values.iter().enumerate().map(|(at, value)| (format!("v{at}"), value.clone())).collect();
        let text = one_line(&text).into_owned();
        let sent = message(&Head { host: &host, ..head(&kind) }, &data, &text, limit);
        prop_assert!(sent.len() <= limit);
        prop_assert!(!sent.chars().any(char::is_control));
        let (header, found, told) = parsed(&sent);
        prop_assert_eq!(&header[3..5], &["cadfd", "4711"]);
        prop_assert!(header.iter().all(|part| !part.is_empty() && part.is_ascii()));
        // What was cut ends so; all else is what it was.
        for (name, value) in &found {
            let wanted = &data.iter().find(|(known, _)| known == name).unwrap().1;
            let wanted = one_line(wanted);
            let kept = value.strip_suffix('…').filter(|kept| wanted.starts_with(kept));
            prop_assert!(*value == wanted || kept.is_some(), "{:?} of {:?}", value, wanted);
        }
        let told = told.unwrap();
        let told = told.strip_prefix('\u{feff}').unwrap_or(told);
        prop_assert!(told == text || text.starts_with(told.strip_suffix('…').unwrap()));
        if limit > 2900 {
            prop_assert_eq!(found.len(), data.len());
            prop_assert_eq!(told, text);
        }
    }
}
