//! `cidr('10.0.0.0/8', …)`: networks that conditions and templates look for an address in.
//!
//! Its promise: what is written in a rule and is no network is found when the rule is checked; what is no address, such as
//! a null, is in no network.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{Object, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::networks::{NetworkError, address, network};

/// The function's name.
pub(super) const NAME: &str = "cidr";

/// Networks of one call: so few that they are looked at in turn. Those of a file are in a list of `[lookup]`.
#[derive(Debug)]
struct Cidr(Vec<IpNet>);

impl Object for Cidr {
    /// The first network that holds the address; `in` asks whether there is one.
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let address = address(key)?;
        self.0.iter().find(|net| net.contains(&address)).map(|net| Value::from(net.to_string()))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.0.is_empty()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nets: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&nets.join(", "))
    }
}

/// The function: networks, single addresses and lists of them. What an event does not have adds none.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands it over so")]
pub(super) fn cidr(args: Rest<Value>) -> Result<Value, Error> {
    let mut nets = Vec::new();
    for arg in args.iter() {
        add(arg, &mut nets).map_err(|text| Error::new(ErrorKind::InvalidOperation, text))?;
    }
    Ok(Value::from_object(Cidr(nets)))
}

fn add(value: &Value, nets: &mut Vec<IpNet>) -> Result<(), String> {
    let said = |error: NetworkError| format!("{NAME}: {error}");
    if value.is_none() || value.is_undefined() {
        return Ok(());
    }
    if let Some(text) = value.as_str() {
        nets.push(network(text).map_err(said)?);
        return Ok(());
    }
    match (value.kind(), value.try_iter()) {
        (ValueKind::Seq | ValueKind::Iterable, Ok(mut items)) => items.try_for_each(|item| add(&item, nets)),
        _ => Err(said(NetworkError::Other(value.to_string()))),
    }
}

/// What is wrong with the networks that are written at a call: the constants just before the call of `count` arguments
/// at `at`. Those that a message gives are not known yet.
pub(super) fn mistakes(instructions: &Instructions<'_>, at: u32, count: Option<u16>) -> Vec<String> {
    if count == Some(0) {
        return vec![format!("{NAME}() needs a network, such as {NAME}('10.0.0.0/8')")];
    }
    let written = (1..=u32::from(count.unwrap_or(0))).map_while(|back| match instructions.get(at.checked_sub(back)?) {
        Some(Instruction::LoadConst(value)) => Some(value),
        _ => None,
    });
    written.filter_map(|value| add(value, &mut Vec::new()).err()).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use serde_json::json;

    use super::super::view::Convert;
    use super::super::{Condition, Fields, Place, Template, View};
    use crate::event::Visit as _;

    fn view() -> View {
        View(Convert.visit(&json!({
            "initiator": {"address": "10.1.2.3", "name": null},
            "payload": {"mapped": "::ffff:10.1.2.3", "six": "2001:db8::7", "nets": ["10.0.0.0/8"], "n": 7},
        })))
    }

    fn is_true(source: &str) -> Result<bool, String> {
        let condition = Condition::compile(source).unwrap();
        assert_eq!(condition.mistakes(&fields()), Vec::<String>::new(), "{source}");
        condition.is_true(&view()).map_err(|error| error.to_string())
    }

    fn fields() -> Fields {
        let closed = ["initiator.address", "initiator.name"];
        Fields { closed: closed.map(String::from).into(), open: ["payload".to_owned()].into() }
    }

    #[test]
    fn an_address_is_in_a_network_or_not() {
        for (source, wanted) in [
            ("initiator.address in cidr('10.0.0.0/8')", true),
            ("initiator.address in cidr('11.0.0.0/8')", false),
            ("initiator.address not in cidr('11.0.0.0/8', '10.1.2.3')", false),
            ("initiator.address in cidr(['172.16.0.0/12', '10.0.0.0/8'])", true),
            ("initiator.address in cidr('2001:db8::/32', '::/0')", false),
            ("payload.mapped in cidr('10.0.0.0/8')", true),
            ("payload.six in cidr('2001:db8::/32')", true),
            ("payload.six in cidr('0.0.0.0/0')", false),
            ("initiator.address in cidr(payload.nets)", true),
            // What is null, missing or no address is in none.
            ("initiator.name in cidr('0.0.0.0/0', '::/0')", false),
            ("payload.absent in cidr('0.0.0.0/0')", false),
            ("payload.n in cidr('0.0.0.0/0')", false),
            ("'controller' in cidr('0.0.0.0/0')", false),
            ("initiator.address in cidr(payload.absent)", false),
            ("initiator.address in cidr(['10.0.0.0/8', payload.absent, initiator.name])", true),
        ] {
            assert_eq!(is_true(source), Ok(wanted), "{source}");
        }
        assert!(is_true("initiator.address in cidr(payload.six ~ '/200')").unwrap_err().contains("expected a network"));
        let template =
            Template::compile("{{ 'in' if initiator.address in cidr('10.0.0.0/8') else 'out' }}", Place::Text);
        assert_eq!(template.unwrap().render(&view()).unwrap(), "in");
    }

    #[test]
    fn what_is_written_and_no_network_is_found_by_looking() {
        let expected = "cidr: expected a network such as 10.0.0.0/8 or 2001:db8::/32, or an address, found";
        for (source, mistakes) in [
            ("initiator.address in cidr('10.0.0.0/33')", vec![format!("{expected} \"10.0.0.0/33\"")]),
            ("initiator.address in cidr(['10.0.0.0/8', 'x'])", vec![format!("{expected} \"x\"")]),
            ("true or initiator.address in cidr(10)", vec![format!("{expected} \"10\"")]),
            ("initiator.address in cidr('a', initiator.name, 'b')", vec![format!("{expected} \"b\"")]),
            ("initiator.address in cidr()", vec!["cidr() needs a network, such as cidr('10.0.0.0/8')".to_owned()]),
        ] {
            assert_eq!(Condition::compile(source).unwrap().mistakes(&fields()), mistakes, "{source}");
            let template = Template::compile(&format!("{{{{ {source} }}}}"), Place::Text).unwrap();
            assert_eq!(template.mistakes(&fields()), mistakes, "{source}");
        }
    }
}
