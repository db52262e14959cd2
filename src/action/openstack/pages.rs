//! A listing's pages, put together as if they had come at once.
//!
//! Its promise: pure; of a link to the next page only the query is taken, so that no answer leads elsewhere; a listing
//! that is not whole is refused, never taken for the whole.

use reqwest::Url;
use serde_json::Value;

/// Pages of one listing.
pub(super) const MAX_PAGES: usize = 10;

/// A listing that is being put together.
pub(super) struct Pages {
    /// Where the next page is.
    next: Option<Url>,
    /// The names down to the list; `None` where the whole answer is wanted.
    list: Option<Vec<String>>,
    answer: Option<Value>,
    asked: Vec<Url>,
}

impl Pages {
    pub(super) fn new(first: Url, list: Option<Vec<String>>) -> Self {
        Self { next: Some(first), list, answer: None, asked: Vec::new() }
    }

    /// The page to ask for now; `None` after the last.
    pub(super) fn next(&mut self) -> Option<Url> {
        let url = self.next.take()?;
        self.asked.push(url.clone());
        Some(url)
    }

    /// Takes the page that was asked for.
    pub(super) fn add(&mut self, mut page: Value) -> Result<(), String> {
        let pointer = self.list.as_deref().map(pointer);
        let has_list = pointer.as_deref().is_some_and(|list| page.pointer(list).is_some_and(Value::is_array));
        let link = link(&page, self.list.as_deref()).map(str::to_owned);
        match (&mut self.answer, &pointer) {
            (None, _) => self.answer = Some(page),
            (Some(answer), Some(pointer)) => {
                let more = page.pointer_mut(pointer).and_then(Value::as_array_mut).map(std::mem::take);
                let Some(more) = more else {
                    return Err(format!("page {} of the answer has no list at {pointer}", self.asked.len()));
                };
                if let Some(Value::Array(items)) = answer.pointer_mut(pointer) {
                    items.extend(more);
                }
            }
            (Some(_), None) => {}
        }
        match link {
            // A part of one element is whole, whatever comes behind the list.
            Some(_) if self.list.is_some() && !has_list => Ok(()),
            Some(_) if self.list.is_none() => {
                Err("the answer is one page of several; let `select` name the list, and they are put together".into())
            }
            Some(link) => self.follow(&link),
            None => Ok(()),
        }
    }

    fn follow(&mut self, link: &str) -> Result<(), String> {
        let Some(here) = self.asked.last() else { return Ok(()) };
        let query = here.join(link).ok().and_then(|next| next.query().map(str::to_owned));
        let Some(query) = query else {
            return Err("the answer's link to its next page cannot be followed: it has no query".into());
        };
        let mut next = here.clone();
        next.set_query(Some(&query));
        if self.asked.contains(&next) {
            return Err("the answer's pages lead round in a circle".into());
        }
        if self.asked.len() >= MAX_PAGES {
            return Err(format!("the answer has more than {MAX_PAGES} pages; let the query ask for less"));
        }
        self.next = Some(next);
        Ok(())
    }

    /// The whole, and of how many pages.
    pub(super) fn finish(self) -> (Value, usize) {
        (self.answer.unwrap_or_default(), self.asked.len())
    }
}

fn pointer(names: &[String]) -> String {
    names.iter().fold(String::new(), |text, name| text + "/" + &name.replace('~', "~0").replace('/', "~1"))
}

/// The link to the next page, as Neutron, Nova and Cinder (`ports_links` beside `ports`), Keystone (`links.next`), or
/// Glance (`next`) write it.
fn link<'a>(page: &'a Value, list: Option<&[String]>) -> Option<&'a str> {
    let beside = match list.and_then(<[String]>::split_last) {
        Some((name, above)) => page.pointer(&pointer(above))?.get(format!("{name}_links")),
        None => page.as_object().and_then(|fields| {
            fields.iter().find(|(name, links)| name.ends_with("_links") && of_rel(links).is_some()).map(|(_, l)| l)
        }),
    };
    let links = page.get("links");
    beside
        .and_then(of_rel)
        .or_else(|| links.and_then(of_rel))
        .or_else(|| links?.get("next")?.as_str())
        .or_else(|| page.get("next")?.as_str().filter(|text| text.starts_with('/') || text.starts_with("http")))
}

fn of_rel(links: &Value) -> Option<&str> {
    links.as_array()?.iter().find(|link| link.get("rel").is_some_and(|rel| rel == "next"))?.get("href")?.as_str()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pages(list: Option<&str>) -> Pages {
        let first = Url::parse("https://net.example/neutron/v2.0/ports?security_groups=g").unwrap();
        Pages::new(first, list.map(|list| vec![list.to_owned()]))
    }

    #[test]
    fn links_of_each_service_are_followed_by_their_query_alone() {
        let rel = |href: &str| json!([{"rel": "self", "href": "/x"}, {"rel": "next", "href": href}]);
        for page in [
            json!({"ports": [1], "ports_links": rel("http://other.example/v2.0/ports?marker=1&limit=1")}),
            json!({"ports": [1], "links": {"self": "x", "next": "http://10.0.0.1/ports?marker=1&limit=1"}}),
            json!({"ports": [1], "links": rel("?marker=1&limit=1")}),
            json!({"ports": [1], "next": "/v2/images?marker=1&limit=1"}),
        ] {
            let mut pages = pages(Some("ports"));
            assert_eq!(pages.next().unwrap().query(), Some("security_groups=g"));
            pages.add(page).unwrap();
            let next = pages.next().unwrap();
            assert_eq!(next.as_str(), "https://net.example/neutron/v2.0/ports?marker=1&limit=1");
            pages.add(json!({"ports": [2, 3], "links": {"next": null}})).unwrap();
            assert!(pages.next().is_none());
            let (answer, count) = pages.finish();
            assert_eq!((&answer["ports"], count), (&json!([1, 2, 3]), 2));
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let more = |query: &str| json!({"ports": [1], "ports_links": [{"rel": "next", "href": query}]});
        let mut whole = pages(None);
        whole.next().unwrap();
        assert!(whole.add(more("?marker=1")).unwrap_err().contains("one page of several"));
        let mut circle = pages(Some("ports"));
        circle.next().unwrap();
        assert!(circle.add(more("?security_groups=g")).unwrap_err().contains("in a circle"));
        let mut nowhere = pages(Some("ports"));
        nowhere.next().unwrap();
        assert!(nowhere.add(more("https://evil.example/")).unwrap_err().contains("no query"));
        let mut endless = pages(Some("ports"));
        for at in 1..MAX_PAGES {
            endless.next().unwrap();
            endless.add(more(&format!("?marker={at}"))).unwrap();
        }
        endless.next().unwrap();
        assert!(endless.add(more("?marker=x")).unwrap_err().contains("more than 10 pages"));
        let mut odd = pages(Some("ports"));
        odd.next().unwrap();
        odd.add(more("?marker=1")).unwrap();
        odd.next().unwrap();
        assert_eq!(odd.add(json!({"prots": []})).unwrap_err(), "page 2 of the answer has no list at /ports");
    }

    #[test]
    fn a_single_thing_has_no_pages() {
        let mut pages = pages(Some("port"));
        pages.next().unwrap();
        pages.add(json!({"port": {"id": "p", "links": [{"rel": "next", "href": "?x=1"}]}})).unwrap();
        assert!(pages.next().is_none());
        // Nor has a part of one.
        let mut part = self::pages(Some("server"));
        part.next().unwrap();
        part.add(json!({"server": {"name": "x"}, "links": {"next": "?marker=2"}})).unwrap();
        assert!(part.next().is_none());
    }

    proptest! {
        #[test]
        fn no_link_leads_elsewhere(link in "(https?:)?[/.\\\\@:a-z?#%2eF&=]{0,24}") {
            let mut pages = pages(Some("ports"));
            let first = pages.next().unwrap();
            let page = json!({"ports": [], "ports_links": [{"rel": "next", "href": link}]});
            if pages.add(page).is_ok() {
                let next = pages.next().unwrap();
                prop_assert_eq!((next.origin(), next.path()), (first.origin(), first.path()));
            }
        }
    }
}
