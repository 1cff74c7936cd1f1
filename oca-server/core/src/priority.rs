//! Extensible priorities (RFC 9218): what a client says of the order of the responses on one connection.

/// Urgency of a request that says nothing.
const DEFAULT_URGENCY: u8 = 3;

/// A request's priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority {
    /// 0 is the most urgent, 7 the least (§4.1).
    pub urgency: u8,
    /// Whether it may take turns with others of its urgency (§4.2).
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self {
            urgency: DEFAULT_URGENCY,
            incremental: false,
        }
    }
}

impl Priority {
    /// Reads a `Priority` field (§5); what cannot be read is left at its default.
    pub fn parse(value: &[u8]) -> Self {
        let mut priority = Self::default();
        for member in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            match member {
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }

    /// Whether a response of this priority that began earlier goes before a later one of another.
    pub fn precedes(self, later: Self) -> bool {
        self.urgency < later.urgency
            || (self.urgency == later.urgency && !self.incremental && !later.incremental)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_leniently() {
        let read = |text: &str| {
            let p = Priority::parse(text.as_bytes());
            (p.urgency, p.incremental)
        };
        assert_eq!(read("u=1, i"), (1, true));
        assert_eq!(read("i=?0,u=7"), (7, false));
        assert_eq!(read("u=8, x;y"), (DEFAULT_URGENCY, false));
    }

    #[test]
    fn the_more_urgent_goes_first_and_equals_go_one_by_one_unless_both_take_turns() {
        let p = |urgency, incremental| Priority { urgency, incremental };
        assert!(p(1, true).precedes(p(2, false)));
        assert!(!p(2, false).precedes(p(1, false)));
        assert!(p(3, false).precedes(p(3, false)));
        assert!(!p(3, true).precedes(p(3, true)));
    }
}
