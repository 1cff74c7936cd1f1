//! In which language a title is made, as far as its name at home tells: by script, then by letters and little words.

use super::{TitleName, plain};

/// A guess, good enough to tell titles apart that travel differently. The order is the model's code and may only be
/// added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of languages say it")]
pub enum Language {
    /// No name at home of its own: mostly English.
    Unmarked,
    Spanish,
    French,
    German,
    Italian,
    Turkish,
    Nordic,
    Dutch,
    Indonesian,
    Korean,
    Japanese,
    Chinese,
    Arabic,
    Thai,
    Hindi,
    /// Another script of India.
    Indic,
    Cyrillic,
    Hebrew,
    Greek,
    Portuguese,
    Polish,
    Other,
}

impl Language {
    /// Of a name.
    pub fn of(name: &TitleName) -> Self {
        match (by_script(&name.name), name.original.is_empty()) {
            (Some(script), true) => script,
            (None, true) => Self::Unmarked,
            (_, false) => by_script(&name.original).unwrap_or_else(|| by_words(&name.original)),
        }
    }
    /// The model's number for it.
    pub fn code(self) -> f64 {
        f64::from(self as u8)
    }
}

/// Scripts that tell a language, in code order.
const SCRIPTS: [Language; 11] = [
    Language::Korean,
    Language::Chinese,
    Language::Arabic,
    Language::Thai,
    Language::Hindi,
    Language::Indic,
    Language::Cyrillic,
    Language::Hebrew,
    Language::Greek,
    Language::Japanese,
    Language::Other,
];

/// The language by the script of most letters; none for Latin. A single Japanese syllable makes the whole Japanese.
fn by_script(text: &str) -> Option<Language> {
    let letters: Vec<Option<Language>> = text.chars().filter(|c| c.is_alphabetic()).map(script).collect();
    if letters.contains(&Some(Language::Japanese)) {
        return Some(Language::Japanese);
    }
    let count = |script| letters.iter().filter(|l| **l == script).count();
    let most = SCRIPTS.into_iter().max_by_key(|s| count(Some(*s)))?;
    (count(Some(most)) > count(None)).then_some(most)
}

/// The script of a letter; none for Latin.
fn script(letter: char) -> Option<Language> {
    Some(match u32::from(letter) {
        0..0x250 => return None,
        0x3040..0x3100 => Language::Japanese,
        0xac00..0xd7b0 | 0x1100..0x1200 => Language::Korean,
        0x3400..0xa000 => Language::Chinese,
        0x600..0x700 => Language::Arabic,
        0xe00..0xe80 => Language::Thai,
        0x900..0x980 => Language::Hindi,
        0x980..0xe00 => Language::Indic,
        0x400..0x530 => Language::Cyrillic,
        0x590..0x600 => Language::Hebrew,
        0x370..0x400 => Language::Greek,
        _ => Language::Other,
    })
}

/// A Latin name by its season word, its letters and its little words.
fn by_words(text: &str) -> Language {
    let (lower, plain) = (text.to_lowercase(), plain(text));
    let any = |words: &[&str]| plain.split(' ').any(|w| words.contains(&w));
    let letter = |letters: &str| lower.chars().any(|c| letters.contains(c));
    if any(&["saison", "le", "les", "du", "des", "une", "et", "est"]) {
        Language::French
    } else if any(&["staffel", "der", "das", "die", "und", "ein", "eine"]) {
        Language::German
    } else if any(&["stagione", "il", "gli", "della", "di"]) {
        Language::Italian
    } else if letter("łżąęś") {
        Language::Polish
    } else if any(&["sezon", "bir", "ve"]) || letter("ışğ") {
        Language::Turkish
    } else if any(&["sesong", "sasong"]) || letter("øåæ") {
        Language::Nordic
    } else if any(&["seizoen", "het", "een", "van"]) {
        Language::Dutch
    } else if letter("ãõ") || any(&["do", "da", "dos", "os", "uma", "um", "nao"]) {
        Language::Portuguese
    } else if any(&["temporada", "el", "la", "los", "las", "del", "y", "un", "una"]) || letter("ñ") {
        Language::Spanish
    } else if any(&["musim", "yang", "dan"]) {
        Language::Indonesian
    } else {
        Language::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_then_letters_then_words() {
        let table = [
            ("The Night Agent: Season 1", Language::Unmarked),
            ("Squid Game: Season 2 // 오징어 게임: 시즌 2", Language::Korean),
            ("표적", Language::Korean),
            ("Jujutsu Kaisen: Season 2 // 呪術廻戦: 第2期", Language::Chinese),
            ("Takagi-san // からかい上手の高木さん", Language::Japanese),
            ("Jawan // जवान", Language::Hindi),
            (
                "Money Heist: Part 1 // La casa de papel: Parte 1",
                Language::Spanish,
            ),
            ("Lupin // Lupin : Saison 1", Language::French),
            (
                "Who Were We Running From? // Biz Kimden Kaçıyorduk Anne?",
                Language::Turkish,
            ),
            ("The Chestnut Man // Kastanjemanden på", Language::Nordic),
            ("Bandidos // Bandoler", Language::Other),
        ];
        for (title, language) in table {
            assert_eq!(Language::of(&TitleName::parse(title)), language, "{title}");
        }
    }
}
