//! Rewrites a DASH MPD by splicing: the XML is read as a stream of events, and only at the places that steering is
//! about are bytes of the text replaced or added. Everything else, to the last blank, is the packed text.
//!
//! Every Period gets one `BaseURL` with a `serviceLocation` for each pathway as its first children (Period level is where
//! every tested player takes them from), and the MPD gets one `ContentSteering` before its first Period (ISO/IEC
//! 23009-1 §K.3.6, ETSI TS 103 998 §6). Relative `BaseURL`s that the packer wrote at MPD or Period level are folded
//! into the new ones; those of Adaptation Sets and Representations stay and resolve against them.

use super::{Pathway, reference};
use quick_xml::{
    Reader,
    escape::{escape, unescape},
    events::{BytesStart, Event},
};
use std::{fmt::Write, ops::Range};

/// Deepest element that an MPD may have: nothing in the schema is a tenth as deep.
const MAX_DEPTH: usize = 256;

/// Why an MPD cannot be personalised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MpdError {
    /// It is not well-formed XML.
    #[error("byte {at}: the packed MPD is not well-formed: {detail}")]
    Xml {
        /// Offset into the text.
        at: u64,
        /// What the parser says.
        detail: String,
    },
    /// The root is no MPD, or it has no Period.
    #[error("the packed text is no MPD with a Period")]
    NotAnMpd,
    /// A base names its own host: then no appliance serves the media.
    #[error("byte {at}: BaseURL `{url}` is absolute; pack with relative addresses")]
    AbsoluteBase {
        /// Offset into the text.
        at: usize,
        /// The address.
        url: String,
    },
}

/// Rewrites `text`, found at `path` below the title's prefix, for these pathways (best first, at least one);
/// `steering` is the absolute address of the session's steering list.
pub fn personalise(text: &str, path: &str, pathways: &[Pathway], steering: &str) -> Result<String, MpdError> {
    let mut splicer = Splicer::new(text, reference::directory(path), pathways, steering);
    let mut reader = Reader::from_str(text);
    loop {
        let before = reader.buffer_position() as usize;
        let event = reader.read_event().map_err(|e| MpdError::Xml {
            at: reader.error_position(),
            detail: e.to_string(),
        })?;
        let span = before..reader.buffer_position() as usize;
        if matches!(event, Event::Eof) {
            return splicer.finish();
        }
        splicer.event(&event, span)?;
    }
}

/// A `BaseURL` or `ContentSteering` being read.
struct Capture {
    start: usize,
    depth: usize,
    attributes: String,
    value: String,
    is_base: bool,
}

struct Splicer<'a> {
    text: &'a str,
    dir: &'a str,
    pathways: &'a [Pathway],
    steering: &'a str,
    out: String,
    copied: usize,
    depth: usize,
    /// Namespace prefix of the root with its colon, or empty.
    prefix: String,
    /// What the MPD-level BaseURL said.
    mpd_base: Option<Base>,
    capture: Option<Capture>,
    /// A Period has been entered and nothing but its BaseURLs has been seen.
    period: Option<Option<Base>>,
    periods: usize,
}

#[derive(Clone)]
struct Base {
    dir: String,
    attributes: String,
}

impl<'a> Splicer<'a> {
    fn new(text: &'a str, dir: &'a str, pathways: &'a [Pathway], steering: &'a str) -> Self {
        Self {
            text,
            dir,
            pathways,
            steering,
            out: String::with_capacity(text.len() + 256 * (pathways.len() + 1)),
            copied: 0,
            depth: 0,
            prefix: String::new(),
            mpd_base: None,
            capture: None,
            period: None,
            periods: 0,
        }
    }

    fn event(&mut self, event: &Event, span: Range<usize>) -> Result<(), MpdError> {
        match event {
            Event::Start(tag) => {
                self.open(tag, &span, false)?;
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(MpdError::Xml {
                        at: span.start as u64,
                        detail: format!("elements nest deeper than {MAX_DEPTH}"),
                    });
                }
            }
            Event::Empty(tag) => self.open(tag, &span, true)?,
            Event::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                self.close(&span)?;
            }
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                let text = self.text;
                if let Some(capture) = &mut self.capture {
                    capture.value.push_str(&text[span]);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, tag: &BytesStart, span: &Range<usize>, empty: bool) -> Result<(), MpdError> {
        if self.capture.is_some() {
            return Ok(());
        }
        let local = tag.local_name();
        let local = local.as_ref();
        match (self.depth, local) {
            (0, "MPD") => {
                let name = tag.name();
                let colon = name.as_ref().len() - local.len();
                self.prefix = name.as_ref()[..colon].to_owned();
            }
            (0, _) => return Err(MpdError::NotAnMpd),
            (1, "BaseURL" | "ContentSteering") => self.begin_capture(tag, local, span, empty),
            (2, "BaseURL") if self.period.is_some() => self.begin_capture(tag, local, span, empty),
            // TS 103 998 allows it below ServiceDescription too.
            (2, "ContentSteering") if self.period.is_none() => self.begin_capture(tag, local, span, empty),
            (1, "Period") => self.open_period(span, empty),
            (2, _) => self.write_bases(span.start),
            _ => {}
        }
        Ok(())
    }

    fn begin_capture(&mut self, tag: &BytesStart, local: &str, span: &Range<usize>, empty: bool) {
        self.copy_to(line_start(self.text, span.start));
        if empty {
            self.skip_to(span.end, span.start);
            return;
        }
        let mut attributes = String::new();
        for attribute in tag.attributes().flatten() {
            if attribute.key.local_name().as_ref() != "serviceLocation" {
                let (key, value) = (attribute.key.as_ref(), attribute.value.replace('"', "&quot;"));
                let _ = write!(attributes, " {key}=\"{value}\"");
            }
        }
        self.capture = Some(Capture {
            start: span.start,
            depth: self.depth,
            attributes,
            value: String::new(),
            is_base: local == "BaseURL",
        });
    }

    fn close(&mut self, span: &Range<usize>) -> Result<(), MpdError> {
        if self.capture.as_ref().is_some_and(|c| c.depth == self.depth) {
            let capture = self.capture.take().expect("it was there in the line above");
            self.skip_to(span.end, capture.start);
            if capture.is_base {
                self.fold(capture)?;
            }
        } else if self.capture.is_none() && self.depth == 1 {
            self.write_bases(span.start); // a Period without any other child
        }
        Ok(())
    }

    /// Takes in a BaseURL of the packer. Of several at one level the first counts: they are alternatives.
    fn fold(&mut self, capture: Capture) -> Result<(), MpdError> {
        let value = capture.value.trim();
        let value = unescape(value).map_or_else(|_| value.to_owned(), std::borrow::Cow::into_owned);
        if reference::is_external(&value) || value.starts_with('/') {
            return Err(MpdError::AbsoluteBase {
                at: capture.start,
                url: value.chars().take(80).collect(),
            });
        }
        let outer = self.mpd_base.as_ref().map_or(self.dir, |b| b.dir.as_str());
        let base = Base {
            dir: reference::descend(if capture.depth == 1 { self.dir } else { outer }, &value),
            attributes: capture.attributes,
        };
        if capture.depth == 1 {
            self.mpd_base.get_or_insert(base);
        } else if let Some(period) = &mut self.period {
            period.get_or_insert(base);
        }
        Ok(())
    }

    fn open_period(&mut self, span: &Range<usize>, empty: bool) {
        if self.periods == 0 {
            let at = line_start(self.text, span.start);
            self.copy_to(at);
            let indent = &self.text[at..span.start];
            let first = self.pathways.first().map_or("", |p| p.id.as_str());
            let steering = format!(
                "{indent}<{p}ContentSteering defaultServiceLocation=\"{}\" queryBeforeStart=\"true\">{}</{p}ContentSteering>{}",
                escape(first),
                escape(self.steering),
                if at < span.start { "\n" } else { "" },
                p = self.prefix,
            );
            // The insertion stands before the indentation, which then belongs to the Period again.
            self.out.push_str(&steering);
        }
        self.periods += 1;
        if !empty {
            self.period = Some(None);
        }
    }

    /// Writes the pathways as the first children of the Period that has been entered, just before `at`.
    fn write_bases(&mut self, at: usize) {
        let Some(own) = self.period.take() else { return };
        let base = own.or_else(|| self.mpd_base.clone()).unwrap_or_else(|| Base {
            dir: self.dir.to_owned(),
            attributes: String::new(),
        });
        let line = line_start(self.text, at);
        self.copy_to(line);
        let indent = &self.text[line..at];
        for pathway in self.pathways {
            let _ = write!(
                self.out,
                "{indent}<{p}BaseURL serviceLocation=\"{}\"{}>{}</{p}BaseURL>{}",
                escape(&pathway.id),
                base.attributes,
                escape(pathway.url(&base.dir)),
                if indent.is_empty() { "" } else { "\n" },
                p = self.prefix,
            );
        }
    }

    fn copy_to(&mut self, to: usize) {
        if to > self.copied {
            self.out.push_str(&self.text[self.copied..to]);
            self.copied = to;
        }
    }

    /// Leaves out what ends at `end`, and its line break if it had the line (which began before `start`) to itself.
    fn skip_to(&mut self, end: usize, start: usize) {
        let alone =
            start == 0 || self.text.as_bytes()[line_start(self.text, start).saturating_sub(1)] == b'\n';
        let rest = &self.text[end..];
        self.copied = end + usize::from(alone && rest.starts_with('\n'));
    }

    fn finish(mut self) -> Result<String, MpdError> {
        if self.periods == 0 || self.depth != 0 {
            return Err(MpdError::NotAnMpd);
        }
        self.copy_to(self.text.len());
        Ok(self.out)
    }
}

/// Where the blanks before `at` begin, if nothing else stands before it on its line; else `at`.
fn line_start(text: &str, at: usize) -> usize {
    let blanks = text[..at].trim_end_matches([' ', '\t']).len();
    if blanks == 0 || text.as_bytes()[blanks - 1] == b'\n' {
        blanks
    } else {
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- packed -->
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" type="static" mediaPresentationDuration="PT24.0S" minBufferTime="PT2S">
  <ProgramInformation><Title>Bunny &amp; friends</Title></ProgramInformation>
  <Period id="0">
    <AdaptationSet contentType="video" segmentAlignment="true">
      <Representation id="v720" bandwidth="2400000" codecs="avc1.64001f" width="1280" height="720">
        <BaseURL>v720.mp4</BaseURL>
        <SegmentBase indexRange="838-1021"><Initialization range="0-837"/></SegmentBase>
      </Representation>
    </AdaptationSet>
  </Period>
</MPD>
"#;
    const STEER: &str = "http://steer:1/v1/steer/tok.en";

    fn pathways() -> Vec<Pathway> {
        [
            ("oca-1", "http://127.0.0.2:8080"),
            ("origin", "http://127.0.0.1:9000"),
        ]
        .map(|(id, base_url)| Pathway {
            id: id.into(),
            base_url: base_url.into(),
            plain: "/t/bunny/0a1b".into(),
            prefix: "/t/bunny/0a1b".into(),
        })
        .to_vec()
    }

    /// Every element as `path[attributes]text`, read by the parser again: what a player sees.
    fn elements(text: &str) -> Vec<String> {
        let mut reader = Reader::from_str(text);
        let (mut names, mut open, mut seen) = (Vec::new(), Vec::new(), Vec::<String>::new());
        loop {
            let event = reader.read_event().unwrap();
            match &event {
                Event::Start(e) | Event::Empty(e) => {
                    names.push(e.local_name().as_ref().to_owned());
                    open.push(seen.len());
                    seen.push(describe(&names, e));
                }
                Event::Text(t) if !open.is_empty() => seen[open[open.len() - 1]].push_str(t.as_ref().trim()),
                _ => {}
            }
            match event {
                Event::End(_) | Event::Empty(_) => drop((names.pop(), open.pop())),
                Event::Eof => return seen,
                _ => {}
            }
        }
    }
    fn describe(names: &[String], e: &BytesStart) -> String {
        let attributes: Vec<_> = e
            .attributes()
            .map(|a| a.unwrap())
            .map(|a| format!("{}={}", a.key.as_ref(), a.value))
            .collect();
        format!("{}[{}]", names.join("/"), attributes.join(" "))
    }

    #[test]
    fn mpd_names_every_appliance_at_the_period_and_steering_before_it() {
        let text = personalise(PACKED, "manifest.mpd", &pathways(), STEER).unwrap();
        let seen = elements(&text);
        let at = |what: &str| {
            seen.iter()
                .position(|e| e == what)
                .unwrap_or_else(|| panic!("{what} not in {seen:#?}"))
        };
        let steering = at(&format!(
            "MPD/ContentSteering[defaultServiceLocation=oca-1 queryBeforeStart=true]{STEER}"
        ));
        let period = at("MPD/Period[id=0]");
        assert_eq!(steering + 1, period);
        assert_eq!(
            at("MPD/Period/BaseURL[serviceLocation=oca-1]http://127.0.0.2:8080/t/bunny/0a1b/"),
            period + 1
        );
        assert_eq!(
            at("MPD/Period/BaseURL[serviceLocation=origin]http://127.0.0.1:9000/t/bunny/0a1b/"),
            period + 2
        );
        at("MPD/Period/AdaptationSet/Representation/BaseURL[]v720.mp4");
    }

    #[test]
    fn mpd_is_the_packed_text_but_for_what_is_added() {
        let text = personalise(PACKED, "manifest.mpd", &pathways(), STEER).unwrap();
        let left: Vec<_> = text
            .lines()
            .filter(|l| !l.contains("ContentSteering") && !l.contains("serviceLocation"))
            .collect();
        assert_eq!(left, PACKED.lines().collect::<Vec<_>>());
    }

    #[test]
    fn mpd_bases_and_steering_of_the_packer_are_folded_in() {
        let packed = r#"<m:MPD xmlns:m="urn:mpeg:dash:schema:mpd:2011"><m:BaseURL>media/</m:BaseURL>
<m:ContentSteering>http://old/</m:ContentSteering>
<m:Period><m:BaseURL serviceLocation="x" dvb:priority="1">p1/</m:BaseURL><m:BaseURL>other/</m:BaseURL><m:AdaptationSet/></m:Period>
<m:Period><m:AdaptationSet/></m:Period><m:Period></m:Period><m:Period/></m:MPD>"#;
        let text = personalise(packed, "dash/m.mpd", &pathways()[..1], STEER).unwrap();
        let seen = elements(&text);
        let bases: Vec<_> = seen.iter().filter(|e| e.contains("BaseURL")).collect();
        let base = "http://127.0.0.2:8080/t/bunny/0a1b/dash/media";
        assert_eq!(
            bases,
            [
                &format!("MPD/Period/BaseURL[serviceLocation=oca-1 dvb:priority=1]{base}/p1/"),
                &format!("MPD/Period/BaseURL[serviceLocation=oca-1]{base}/"),
                &format!("MPD/Period/BaseURL[serviceLocation=oca-1]{base}/"),
            ]
        );
        assert_eq!(text.matches("<m:ContentSteering ").count(), 1);
        assert!(!text.contains("http://old/"), "{text}");
        assert_eq!(seen.iter().filter(|e| e.starts_with("MPD/Period[")).count(), 4);
    }

    #[test]
    fn mpd_that_cannot_be_steered_is_refused_with_its_place() {
        let steer = |packed: &str| personalise(packed, "m.mpd", &pathways(), STEER);
        assert!(matches!(
            steer("<MPD><BaseURL>https://cdn/</BaseURL><Period/></MPD>"),
            Err(MpdError::AbsoluteBase { at: 5, .. })
        ));
        assert!(matches!(steer("<MPD><Period></MPD>"), Err(MpdError::Xml { .. })));
        for bad in ["", "<html/>", "<MPD></MPD>", "<MPD><Period>"] {
            assert!(steer(bad).is_err(), "{bad}");
        }
        let deep = format!("<MPD>{}", "<a>".repeat(MAX_DEPTH + 1));
        assert!(matches!(steer(&deep), Err(MpdError::Xml { .. })));
    }

    proptest::proptest! {
        /// Nothing panics, and what is accepted is still well-formed.
        #[test]
        fn any_text_is_rewritten_or_refused(body in "(<BaseURL>[a-z/&;é]{0,5}</BaseURL>|<Period>|</Period>|<Period/>|<!--é-->|<x a=\"é\"/>| |\n|<ContentSteering/>|<!\\[CDATA\\[x\\]\\]>){0,9}") {
            if let Ok(text) = personalise(&format!("<MPD>{body}</MPD>"), "a/m.mpd", &pathways(), STEER) {
                proptest::prop_assert!(elements(&text).iter().any(|e| e.starts_with("MPD/ContentSteering[")));
            }
        }
    }
}
