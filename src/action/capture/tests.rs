//! Captures, of answers as they come and of those that nobody should send.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::transport::Veil;

/// As Qualys answers: VM/PC API, "Launch VM scan".
const QUALYS: &str = r#"<?xml version="1.0" encoding="UTF-8" ?>
<!DOCTYPE SIMPLE_RETURN SYSTEM "https://qualysapi.qualys.com/api/2.0/simple_return.dtd">
<SIMPLE_RETURN>
  <RESPONSE>
    <DATETIME>2013-01-15T21:32:40Z</DATETIME>
    <TEXT>New vm scan launched</TEXT>
    <ITEM_LIST>
      <ITEM>
        <KEY>ID</KEY>
        <VALUE>136992</VALUE>
      </ITEM>
      <ITEM>
        <KEY>REFERENCE</KEY>
        <VALUE>scan/1358285558.36992</VALUE>
      </ITEM>
    </ITEM_LIST>
  </RESPONSE>
</SIMPLE_RETURN>
"#;

fn show(text: &str) -> String {
    Veil::new(vec!["hunter2".to_owned()]).show(text.as_bytes(), usize::MAX)
}

fn take_from(body: &str, from: Place, whole: bool) -> Result<Value, String> {
    let wanted = [Capture { name: "it".into(), from, absent: Absent::Fails }];
    let headers = HeaderMap::from_iter([("location".parse().unwrap(), "/scans/7".parse().unwrap())]);
    let mut captured = Source { headers: &headers, body: body.as_bytes(), whole }.take(&wanted, show);
    match captured.missing.pop() {
        None => Ok(captured.values.remove("it").unwrap()),
        Some(reason) => Err(reason.strip_prefix("it: ").unwrap().to_owned()),
    }
}

fn xml(body: &str, path: &str) -> Result<Value, String> {
    take_from(body, Place::Xml(path.into()), true)
}

fn json(body: &str, pointer: &str) -> Result<Value, String> {
    take_from(body, Place::Json(pointer.into()), true)
}

fn regex(body: &str, pattern: &str) -> Result<Value, String> {
    take_from(body, Place::Regex(pattern.into()), true)
}

#[test]
fn a_path_leads_into_what_qualys_answers() {
    for (path, wanted) in [
        ("/SIMPLE_RETURN/RESPONSE/ITEM_LIST/ITEM[KEY='ID']/VALUE", "136992"),
        ("//ITEM[KEY='REFERENCE']/VALUE", "scan/1358285558.36992"),
        ("//ITEM[ KEY = \"ID\" ]/VALUE", ""),
        ("//ITEM[KEY = \"ID\"]/VALUE", "136992"),
        ("//ITEM[2]/KEY", "REFERENCE"),
        ("//RESPONSE/*[1]/text()", "2013-01-15T21:32:40Z"),
        ("/*/*/TEXT", "New vm scan launched"),
        ("//VALUE[.='136992']", "136992"),
        ("/SIMPLE_RETURN//KEY", "ID"),
    ] {
        match xml(QUALYS, path) {
            Ok(found) => assert_eq!(found, wanted, "{path}"),
            Err(reason) => assert!(wanted.is_empty() && reason.contains("expected a name"), "{path}: {reason}"),
        }
    }
    let reason = xml(QUALYS, "//ITEM[KEY='NOTHING']/VALUE").unwrap_err();
    assert_eq!(reason, r#"the answer has nothing at "//ITEM[KEY='NOTHING']/VALUE""#);
}

#[test]
fn attributes_namespaces_and_cdata_are_read() {
    let body = r#"<a xmlns="urn:x" xmlns:b="urn:y"><b:c id="7" b:kind="k"> one <![CDATA[<two>]]></b:c><c id="8"/></a>"#;
    assert_eq!(xml(body, "/a/c/@id").unwrap(), "7");
    assert_eq!(xml(body, "//c[@id='8']/@id").unwrap(), "8");
    assert_eq!(xml(body, "//c/@kind").unwrap(), "k");
    assert_eq!(xml(body, "//c").unwrap(), "one <two>");
    assert_eq!(xml(body, "//c[2]").unwrap_err(), r#"the answer has nothing but an empty text at "//c[2]""#);
}

#[test]
fn json_regex_and_headers_are_read() {
    let body = r#"{"scan": {"id": 7, "ref": "a b", "ok": true, "none": null, "list": [1, {"a/b": "x"}]}}"#;
    assert_eq!(json(body, "/scan/id").unwrap(), json!(7));
    assert_eq!(json(body, "/scan/ok").unwrap(), json!(true));
    assert_eq!(json(body, "/scan/list/1/a~1b").unwrap(), "x");
    assert_eq!(json(body, "/scan/list").unwrap(), r#"[1,{"a/b":"x"}]"#);
    assert_eq!(json(body, "/scan/none").unwrap_err(), r#"the answer has nothing at "/scan/none""#);
    assert_eq!(json("\u{feff}{\"a\":\"b\"}", "/a").unwrap(), "b");
    assert_eq!(regex("queued: id=42;", "id=([0-9]+)").unwrap(), "42");
    assert_eq!(regex("queued: id=42;", "id=[0-9]+").unwrap(), "id=42");
    assert_eq!(regex("nothing", "id=([0-9]+)").unwrap_err(), r#"the answer has nothing that matches "id=([0-9]+)""#);
    assert_eq!(take_from("", Place::Header("Location".into()), true).unwrap(), "/scans/7");
    let reason = take_from("", Place::Header("Etag".into()), false).unwrap_err();
    assert_eq!(reason, r#"the answer has nothing in the header "Etag""#);
}

#[test]
fn an_answer_that_is_not_whole_is_named_as_the_reason() {
    for place in [Place::Json("/a".into()), Place::Xml("/a".into()), Place::Regex("z".into())] {
        let reason = take_from("<a>{\"a\":", place, false).unwrap_err();
        assert!(reason.ends_with("; it broke off, or is longer than the 64 KiB that are read"), "{reason}");
    }
    // What is in the part that came is taken.
    assert_eq!(take_from("id=7 and mo", Place::Regex("id=(.)".into()), false).unwrap(), "7");
}

#[test]
fn what_is_absent_may_be_null_or_a_default() {
    let of = |absent| Capture { name: "it".into(), from: Place::Json("/a".into()), absent };
    let take = |absent| {
        let source = Source { headers: &HeaderMap::new(), body: b"{}", whole: true };
        let mut detail = Map::new();
        let fields = source.take(&[of(absent)], show).tell(&mut detail);
        (Value::Object(detail), fields.map(Value::Object))
    };
    let captured = |value: Value| json!({"captured": {"it": value}});
    assert_eq!(take(Absent::Null), (captured(Value::Null), Ok(captured(Value::Null))));
    let default = Absent::Default("none".into());
    assert_eq!(take(default), (captured("none".into()), Ok(captured("none".into()))));
    let (detail, fields) = take(Absent::Fails);
    assert_eq!(detail, json!({"captured": {}, "missing": "it: the answer has nothing at \"/a\""}));
    assert!(fields.unwrap_err().ends_with("is not in the answer: it: the answer has nothing at \"/a\""));
}

#[test]
fn what_is_captured_is_bounded_and_fit_to_be_shown() {
    let body =
        json!({"long": "x".repeat(LONGEST + 1), "most": "x".repeat(LONGEST), "evil": "a\u{1b}[31m\r\nhunter2\u{202e}"});
    let body = body.to_string();
    assert_eq!(json(&body, "/long").unwrap_err(), r#"the answer has more than 4 KiB at "/long""#);
    assert_eq!(json(&body, "/most").unwrap().as_str().unwrap().len(), LONGEST);
    assert_eq!(json(&body, "/evil").unwrap(), r"a\u{1b}[31m\r\n***\u{202e}");
    let of =
        |number: usize| Capture { name: number.to_string(), from: Place::Json("/most".into()), absent: Absent::Fails };
    let captures: Vec<_> = (0..40).map(of).collect();
    let source = Source { headers: &HeaderMap::new(), body: body.as_bytes(), whole: true };
    assert_eq!(source.take(&captures, show).values.len(), MOST);
}

#[test]
fn hostile_answers_end_soon() {
    let deep = format!("{}{}", "<a>".repeat(9000), "</a>".repeat(9000));
    assert_eq!(xml(&deep, "//b").unwrap_err(), r#"the answer has nothing at "//b""#);
    let reason = xml(&deep, "//a//a//a//b").unwrap_err();
    assert!(reason.contains("takes too long"), "{reason}");
    let reason = xml(&deep, "//a[.='x']").unwrap_err();
    assert!(reason.contains("takes too long"), "{reason}");
    let reason = json(&"[".repeat(60_000), "/0").unwrap_err();
    assert!(reason.starts_with("the answer is not JSON (recursion limit"), "{reason}");
    let laughs = r#"<!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;">]><a>&m;</a>"#;
    assert_eq!(xml(laughs, "/a").unwrap_err(), "the answer is XML that declares entities, which is not taken");
    let outside = r#"<!DOCTYPE a SYSTEM "file:///etc/passwd"><a>&b;</a>"#;
    assert!(xml(outside, "/a").unwrap_err().starts_with("the answer is not XML (unknown entity reference"));
    assert!(regex(&"a".repeat(60_000), "(a*)*b").is_err());
}

#[test]
fn mistakes_are_said() {
    for (place, wanted) in [
        (Place::Json("scan".into()), "\"scan\" is not a JSON pointer; expected one such as \"/scan/id\""),
        (Place::Json("/a~b".into()), "\"/a~b\" is not a JSON pointer: a ~ is written ~0, a / within a name ~1"),
        (Place::Regex("id=(".into()), "\"id=(\" is not a regular expression: unclosed group"),
        (Place::Header("a b".into()), "\"a b\" is not the name of a header"),
        (Place::Xml("a".into()), "\"a\" is not a path into XML: expected / or // (at character 1)"),
        (Place::Xml("/a[0]".into()), "\"/a[0]\" is not a path into XML: the first is [1] (at character 5)"),
        (
            Place::Xml("/a[b]".into()),
            "\"/a[b]\" is not a path into XML: expected = and a text in quotes, as in [KEY='ID'] (at character 5)",
        ),
        (Place::Xml("/a[b='c]".into()), "\"/a[b='c]\" is not a path into XML: the quote does not end (at character 6)"),
        (
            Place::Xml("/x:a".into()),
            "\"/x:a\" is not a path into XML: write names without their namespaces (at character 3)",
        ),
        (
            Place::Xml("/a/@b/c".into()),
            "\"/a/@b/c\" is not a path into XML: nothing can follow an attribute or a text (at character 6)",
        ),
        (Place::Xml("/a/".into()), "\"/a/\" is not a path into XML: expected a name (at character 4)"),
    ] {
        assert_eq!(place.check().unwrap_err(), wanted);
    }
    let large = Place::Regex("(?:[a-z]{1000}){1000}".into()).check().unwrap_err();
    assert!(large.contains("is not a regular expression: "), "{large}");
    for place in [Place::Json(String::new()), Place::Json("/a~0/~1".into()), Place::Xml("//a[b=']']/text()".into())] {
        assert_eq!(place.check(), Ok(()));
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(
        body in prop_oneof![any::<String>(), "[<>a/&;='\"!\\[\\]{}:,0-9 -]{0,200}", r#"(<[ab]( [ab]="[ab]")?>|</[ab]>|[ab&;]){0,40}"#],
        path in prop_oneof![any::<String>(), r"(//?([ab*]|text\(\)|@a)(\[(1|a='b'|@a=.b.|\.='a')\])?){1,5}"],
        whole: bool,
    ) {
        for place in [Place::Json(path.clone()), Place::Xml(path.clone()), Place::Regex(path.clone()), Place::Header(path.clone())] {
            let _either = place.check();
            if let Ok(value) = take_from(&body, place, whole) {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                prop_assert!(!shown.is_empty() && shown.len() <= LONGEST);
                prop_assert!(!shown.contains(|char: char| char.is_control()));
            }
        }
    }
}
