//! Series, season and year out of a name.
//!
//! Forms that occur, from the most telling to the least: a last part "Season 3", "Part 2", "Book 1", "Limited Series";
//! "The Sixth Year"; a last number ("Stranger Things 4", "Extraction II"). What is left is the series; its first
//! part before a colon or dash is the franchise, so that "Bridgerton - The Afterparty" belongs to "Bridgerton".

/// Words that a season's number follows.
const SEASON_WORDS: [&str; 15] = [
    "season",
    "series",
    "part",
    "volume",
    "vol",
    "vol.",
    "chapter",
    "book",
    "collection",
    "year",
    "temporada",
    "parte",
    "saison",
    "staffel",
    "stagione",
];
/// A series that is one season by itself.
const LIMITED: [&str; 4] = [
    "limited series",
    "miniseries",
    "mini-series",
    "the complete series",
];
const ORDINALS: [&str; 15] = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
];
const NUMERALS: [&str; 10] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];
const ROMAN: [(&str, u32); 5] = [("ii", 2), ("iii", 3), ("iv", 4), ("v", 5), ("vi", 6)];

/// A name taken apart. Text is [`plain`] but for `name` and `original`, which stand as given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TitleName {
    /// The name before ` // `.
    pub name: String,
    /// The name at home, after ` // `; empty if it is the same.
    pub original: String,
    /// The name without season and year.
    pub series: String,
    /// The series' first part.
    pub franchise: String,
    /// Number of the season, part or film.
    pub season: Option<u32>,
    /// Told to be a series of one season.
    pub limited: bool,
    /// The number is the name's last word, as films have it, and not told by a word like "Season".
    pub bare_number: bool,
    /// Year in brackets, which tells namesakes apart.
    pub year: Option<u32>,
}

impl TitleName {
    /// Takes a name apart. Every text is a name: what is not understood is its series.
    pub fn parse(title: &str) -> Self {
        let mut languages = title.split(" // ").map(str::trim);
        let name = languages.next().unwrap_or_default();
        let mut of = Self {
            name: name.to_owned(),
            original: languages.next().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        let mut parts: Vec<&str> = name.split(": ").map(str::trim).collect();
        while parts.len() > 1 && of.take_season(parts[parts.len() - 1]) {
            parts.pop();
        }
        let rest = of.take_year(&parts.join(": "));
        let rest = of.take_last_number(&rest);
        of.series = or_else(plain(&rest), || plain(name));
        let first = [": ", " - ", " – "].iter().filter_map(|s| rest.find(s)).min();
        of.franchise = or_else(plain(&rest[..first.unwrap_or(rest.len())]), || of.series.clone());
        of
    }

    /// The whole name as it is compared: without accents, case and signs, with its year.
    pub fn key(&self) -> String {
        let name = or_else(plain(&self.name), || self.name.clone());
        match self.year {
            Some(year) => format!("{name}|{year}"),
            None => name,
        }
    }

    /// The name without what a first and only season may be called, with the name at home. Reports rename such titles:
    /// "Healer: Season 1" is "Healer: Limited Series" half a year later. None for names that end in a bare number.
    pub fn alias(&self) -> Option<(String, String)> {
        let at_home = self
            .original
            .rsplit_once(": ")
            .map_or(self.original.as_str(), |(head, _)| head);
        (!self.bare_number).then(|| {
            (
                format!("{}|{}", self.series, self.season.unwrap_or(1)),
                plain(at_home),
            )
        })
    }

    /// Takes a last part that tells the season.
    fn take_season(&mut self, part: &str) -> bool {
        let part = part.to_lowercase();
        if LIMITED.contains(&part.as_str()) {
            self.limited = true;
            return true;
        }
        let words: Vec<&str> = part.split_whitespace().collect();
        let told = match words[..] {
            [word, n, ..] if words.len() <= 4 && SEASON_WORDS.contains(&word) => number(n),
            ["the", nth, word] if SEASON_WORDS.contains(&word) => ORDINALS
                .iter()
                .position(|o| *o == nth)
                .and_then(|at| u32::try_from(at + 1).ok()),
            [.., n] if words.len() > 1 && self.season.is_none() && n.len() <= 2 => digits(n),
            _ => None,
        };
        if told.is_some() && (self.season.is_none() || words[0] != "part") {
            self.season = told;
        }
        told.is_some()
    }

    /// Takes a year in brackets out.
    fn take_year(&mut self, text: &str) -> String {
        for (at, _) in text.match_indices('(') {
            let inside = &text[at + 1..];
            let Some(end) = inside.find(')') else { break };
            if end == 4
                && let Some(year) = digits(&inside[..end])
            {
                self.year = Some(year);
                return format!("{}{}", text[..at].trim_end(), &inside[end + 1..]);
            }
        }
        text.to_owned()
    }

    /// Takes a number that ends the name, unless the name is that number.
    fn take_last_number(&mut self, text: &str) -> String {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [head @ .., last] = &words[..] else {
            return String::new();
        };
        if self.season.is_some() || head.is_empty() {
            return words.join(" ");
        }
        let roman = || {
            ROMAN
                .iter()
                .find(|(r, _)| last.to_lowercase() == *r && *last == last.to_uppercase())
        };
        let told = match digits(last) {
            Some(n) if last.len() <= 2 && n > 0 => Some(n),
            _ => roman().map(|(_, n)| *n),
        };
        let Some(n) = told else { return words.join(" ") };
        (self.season, self.bare_number) = (Some(n), true);
        match head {
            [front @ .., word]
                if !front.is_empty() && SEASON_WORDS.contains(&word.to_lowercase().as_str()) =>
            {
                front.join(" ")
            }
            _ => head.join(" "),
        }
    }
}

/// Lower case, without accents, words of letters and digits with one space between.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match bare(c) {
            Some(letters) => plain.push_str(letters),
            None if is_mark(c) => {}
            None if c.is_alphanumeric() => plain.push(c),
            None => plain.push(' '),
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An accent by itself.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// A Latin letter without its accent.
fn bare(c: char) -> Option<&'static str> {
    Some(match c {
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'ç' | 'ć' | 'č' => "c",
        'ď' => "d",
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'ğ' => "g",
        'ì'..='ï' | 'ī' | 'į' => "i",
        'ñ' | 'ń' | 'ň' => "n",
        'ò'..='ö' | 'ō' | 'ő' => "o",
        'ř' => "r",
        'ś' | 'ş' | 'š' | 'ș' => "s",
        'ţ' | 'ť' | 'ț' => "t",
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        _ => return None,
    })
}

/// A small number in digits, as a word or in Roman numerals.
fn number(word: &str) -> Option<u32> {
    let word = word.trim_matches('.');
    let named = || {
        NUMERALS
            .iter()
            .position(|n| *n == word)
            .and_then(|at| u32::try_from(at + 1).ok())
    };
    let roman = || ROMAN.iter().find(|(r, _)| *r == word).map(|(_, n)| *n);
    digits(word)
        .filter(|_| word.len() <= 3)
        .or_else(named)
        .or_else(roman)
}

fn digits(word: &str) -> Option<u32> {
    word.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| word.parse().ok())
        .flatten()
}

fn or_else(text: String, other: impl FnOnce() -> String) -> String {
    if text.is_empty() { other() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_reports_have_them() {
        // Name, series, franchise, season, limited, year.
        let table = [
            (
                "Ginny & Georgia: Season 2",
                "ginny georgia",
                "ginny georgia",
                Some(2),
                false,
                None,
            ),
            (
                "Stranger Things 4",
                "stranger things",
                "stranger things",
                Some(4),
                false,
                None,
            ),
            (
                "Stranger Things",
                "stranger things",
                "stranger things",
                None,
                false,
                None,
            ),
            ("Extraction II", "extraction", "extraction", Some(2), false, None),
            (
                "Money Heist: Part 1 // La casa de papel: Parte 1",
                "money heist",
                "money heist",
                Some(1),
                false,
                None,
            ),
            (
                "Dear Child: Limited Series // Liebes Kind: Miniserie",
                "dear child",
                "dear child",
                None,
                true,
                None,
            ),
            (
                "Law & Order: Special Victims Unit: The Sixth Year",
                "law order special victims unit",
                "law order",
                Some(6),
                false,
                None,
            ),
            (
                "Avatar: The Last Airbender (2005): Book 3",
                "avatar the last airbender",
                "avatar",
                Some(3),
                false,
                Some(2005),
            ),
            (
                "Cobra Kai: Season 6: Part 2",
                "cobra kai",
                "cobra kai",
                Some(6),
                false,
                None,
            ),
            (
                "Beyond Stranger Things: Beyond 2",
                "beyond stranger things",
                "beyond stranger things",
                Some(2),
                false,
                None,
            ),
            (
                "Bridgerton - The Afterparty",
                "bridgerton the afterparty",
                "bridgerton",
                None,
                false,
                None,
            ),
            ("1899: Season 1", "1899", "1899", Some(1), false, None),
            ("1917", "1917", "1917", None, false, None),
            (
                "Blade Runner 2049",
                "blade runner 2049",
                "blade runner 2049",
                None,
                false,
                None,
            ),
            ("Élite: Season 5", "elite", "elite", Some(5), false, None),
            ("표적", "표적", "표적", None, false, None),
            ("?!", "", "", None, false, None),
            ("", "", "", None, false, None),
        ];
        for (text, series, franchise, season, limited, year) in table {
            let n = TitleName::parse(text);
            assert_eq!(
                (
                    n.series.as_str(),
                    n.franchise.as_str(),
                    n.season,
                    n.limited,
                    n.year
                ),
                (series, franchise, season, limited, year),
                "{text}"
            );
        }
    }

    #[test]
    fn a_renamed_only_season_keeps_its_alias() {
        let alias = |t| TitleName::parse(t).alias();
        let healer = alias("Healer: Season 1 // 힐러: 시즌 1");
        assert_eq!(healer, alias("Healer: Limited Series // 힐러: 리미티드 시리즈"));
        assert_ne!(healer, alias("Healer: Season 2 // 힐러: 시즌 2"));
        assert_ne!(
            healer,
            alias("Healer: Season 1"),
            "another name at home is another title"
        );
        assert_eq!(alias("Stranger Things 4"), None);
    }

    #[test]
    fn keys_fold_case_accents_and_signs_but_not_years() {
        let key = |t| TitleName::parse(t).key();
        assert_eq!(key("Berlín: Season 1"), key("BERLIN - season 1"));
        assert_ne!(key("Footloose (1984)"), key("Footloose (2011)"));
        assert_eq!(key("?!"), "?!");
    }
}
