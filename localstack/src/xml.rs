//! Writes XML elements with their text escaped.

/// A document in the making.
#[derive(Debug)]
pub(crate) struct Xml(String);

impl Xml {
    /// A document whose root element is `tag` in `namespace`, filled by `content`.
    pub(crate) fn document(
        tag: &str,
        namespace: Option<&str>,
        content: impl FnOnce(&mut Self),
    ) -> String {
        let mut xml = Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned());
        match namespace {
            Some(namespace) => xml.0.extend(["<", tag, " xmlns=\"", namespace, "\">"]),
            None => xml.0.extend(["<", tag, ">"]),
        }
        content(&mut xml);
        xml.0.extend(["</", tag, ">"]);
        xml.0
    }

    /// An element with elements in it.
    pub(crate) fn nest(&mut self, tag: &str, content: impl FnOnce(&mut Self)) {
        self.0.extend(["<", tag, ">"]);
        content(self);
        self.0.extend(["</", tag, ">"]);
    }

    /// An element with text in it.
    pub(crate) fn leaf(&mut self, tag: &str, text: impl std::fmt::Display) {
        self.nest(tag, |xml| {
            for character in text.to_string().chars() {
                match character {
                    '&' => xml.0.push_str("&amp;"),
                    '<' => xml.0.push_str("&lt;"),
                    '>' => xml.0.push_str("&gt;"),
                    '"' => xml.0.push_str("&quot;"),
                    '\t' => xml.0.push_str("&#9;"),
                    '\n' => xml.0.push_str("&#10;"),
                    '\r' => xml.0.push_str("&#13;"),
                    // XML has no way to write the others
                    control if control.is_control() => xml.0.push('\u{fffd}'),
                    plain => xml.0.push(plain),
                }
            }
        });
    }

    /// An element with text in it, when there is any.
    pub(crate) fn leaf_if(&mut self, tag: &str, text: Option<impl std::fmt::Display>) {
        if let Some(text) = text {
            self.leaf(tag, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let document = Xml::document("a", Some("urn:x"), |xml| {
            xml.leaf("b", "<\"&'>\n");
            xml.leaf_if("c", None::<&str>);
        });
        assert_eq!(
            document,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a xmlns=\"urn:x\"><b>&lt;&quot;&amp;'&gt;&#10;</b></a>"
        );
    }
}
