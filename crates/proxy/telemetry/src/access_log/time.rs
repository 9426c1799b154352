//! Dates for log lines: in UTC without a calendar library, in the machine's zone with one that knows
//! zones. Formats are those of `%START_TIME()%`.

use std::cell::RefCell;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A compiled time format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeFormat {
    pieces: Vec<Piece>,
    /// The zone; none is UTC.
    zone: Option<TimeZone>,
    /// It is [`ISO`].
    is_iso: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// A conversion character that [`write_field`] knows.
    Field(char),
    /// So many digits of the second's fraction.
    Fraction(usize),
    /// The second with so many digits of its fraction; none says as many as it has.
    Second(Option<usize>),
    /// Seconds since the epoch.
    Epoch,
    /// The zone's distance from UTC.
    Offset(OffsetForm),
}

/// How a distance from UTC is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OffsetForm {
    /// `+0100`.
    Plain,
    /// `+01:00`.
    Colon,
    /// `+01:00:00`.
    Seconds,
}

/// Where a zone is at a moment.
struct Place {
    /// Seconds that its clocks are ahead of UTC.
    ahead: i64,
    /// Such as `CET`.
    name: String,
}

/// A moment in the Gregorian calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    pub year: i64,
    /// From 1.
    pub month: u64,
    /// From 1.
    pub day: u64,
    /// From 1.
    pub day_of_year: u64,
    /// Sunday is 0.
    pub weekday: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
    pub nanosecond: u32,
}

/// The usual form: `2026-01-02T03:04:05.678Z`.
const ISO: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";

thread_local! {
    /// The second that was written last in the usual form, and how.
    static SECOND: RefCell<(u64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl Civil {
    pub fn new(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs();
        let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
        // Years are counted from 1 March of year 0, so that a leap day is a year's last. A cycle
        // of 400 years has 146,097 days, and 719,468 of them lie before the epoch.
        let shifted = days + 719_468;
        let cycle = shifted / 146_097;
        let day_of_cycle = shifted % 146_097;
        let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
            - day_of_cycle / 146_096)
            / 365;
        let day_from_march =
            day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        // Months from March have 31, 30, 31, 30, 31 days, which repeats: 153 days in five.
        let month_from_march = (5 * day_from_march + 2) / 153;
        let day = day_from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let day_of_year = if month_from_march >= 10 {
            day_from_march - 305
        } else {
            day_from_march + 60 + u64::from(leap)
        };
        Self {
            year: year.cast_signed(),
            month,
            day,
            day_of_year,
            weekday: (days + 4) % 7,
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            nanosecond: since_epoch.subsec_nanos(),
        }
    }
}

impl Civil {
    /// The year and the week that the day belongs to by ISO 8601.
    fn iso_week(&self) -> (u64, u64) {
        let year = self.year.unsigned_abs();
        let leap = |year: u64| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        // a week belongs to the year in which its Thursday is
        let monday = (self.weekday + 6) % 7;
        let thursday = (self.day_of_year + 3).saturating_sub(monday);
        let days = 365 + u64::from(leap(year));
        if thursday == 0 {
            let before = 365 + u64::from(leap(year - 1));
            return (
                year - 1,
                (before + self.day_of_year + 3 - monday - 1) / 7 + 1,
            );
        }
        if thursday > days {
            return (year + 1, 1);
        }
        (year, (thursday - 1) / 7 + 1)
    }
}

impl TimeFormat {
    /// `2026-01-02T03:04:05.678Z`.
    pub fn iso() -> Self {
        Self::parse(ISO).expect("every conversion is known")
    }

    /// The same format in the zone of this machine (`TZ`, or `/etc/localtime`).
    pub fn local(self) -> Self {
        Self {
            zone: Some(TimeZone::system()),
            ..self
        }
    }

    /// Compiles a format, in UTC.
    ///
    /// # Errors
    /// The conversion that is not known.
    pub fn parse(format: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                literal.push(character);
                continue;
            }
            let piece = match characters.next() {
                Some('%') => {
                    literal.push('%');
                    continue;
                }
                Some('s') => Piece::Epoch,
                Some('f') => Piece::Fraction(9),
                Some('z') => Piece::Offset(OffsetForm::Plain),
                Some('E') => {
                    let (piece, rest) = extended(characters.as_str())
                        .ok_or_else(|| format!("%E{}", characters.as_str()))?;
                    characters = rest.chars();
                    piece
                }
                Some(':') if characters.as_str().starts_with('z') => {
                    characters.next();
                    Piece::Offset(OffsetForm::Colon)
                }
                Some(digit @ '1'..='9') if characters.as_str().starts_with('f') => {
                    characters.next();
                    Piece::Fraction(digit.to_digit(10).map_or(9, |digits| digits as usize))
                }
                Some(field) if FIELDS.contains(field) => Piece::Field(field),
                Some(other) => return Err(format!("%{other}")),
                None => return Err("%".to_owned()),
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self {
            pieces,
            zone: None,
            is_iso: format == ISO,
        })
    }

    pub fn write(&self, since_epoch: Duration, out: &mut Vec<u8>) {
        if self.is_iso && self.zone.is_none() {
            return self.write_iso(since_epoch, out);
        }
        self.write_pieces(since_epoch, out);
    }

    /// Writes the usual form, of which most is the same for a second.
    fn write_iso(&self, since_epoch: Duration, out: &mut Vec<u8>) {
        SECOND.with_borrow_mut(|(second, text)| {
            if *second != since_epoch.as_secs() || text.is_empty() {
                *second = since_epoch.as_secs();
                text.clear();
                self.write_pieces(since_epoch, text);
                text.truncate(text.len() - "678Z".len());
            }
            out.extend_from_slice(text);
        });
        number(out, since_epoch.subsec_millis().into(), 3, b'0');
        out.push(b'Z');
    }

    fn write_pieces(&self, since_epoch: Duration, out: &mut Vec<u8>) {
        let place = self.zone.as_ref().map(|zone| Place::of(zone, since_epoch));
        let ahead = place.as_ref().map_or(0, |place| place.ahead);
        let name = place.as_ref().map_or("UTC", |place| &place.name);
        let shown = match u64::try_from(ahead) {
            Ok(ahead) => since_epoch + Duration::from_secs(ahead),
            Err(_) => since_epoch.saturating_sub(Duration::from_secs(ahead.unsigned_abs())),
        };
        let civil = Civil::new(shown);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Epoch => number(out, since_epoch.as_secs(), 1, b'0'),
                Piece::Field('Z') => out.extend_from_slice(name.as_bytes()),
                Piece::Field(field) => write_field(*field, &civil, out),
                Piece::Offset(form) => write_offset(ahead, *form, out),
                Piece::Second(digits) => {
                    number(out, civil.second, 2, b'0');
                    let digits = digits.unwrap_or_else(|| significant(civil.nanosecond));
                    if digits > 0 {
                        out.push(b'.');
                        fraction(out, civil.nanosecond, digits);
                    }
                }
                Piece::Fraction(digits) => fraction(out, civil.nanosecond, *digits),
            }
        }
    }
}

impl Place {
    fn of(zone: &TimeZone, since_epoch: Duration) -> Self {
        let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let info = zone.to_offset_info(moment);
        Self {
            ahead: info.offset().seconds().into(),
            name: info.abbreviation().to_owned(),
        }
    }
}

fn write_offset(ahead: i64, form: OffsetForm, out: &mut Vec<u8>) {
    out.push(if ahead < 0 { b'-' } else { b'+' });
    let ahead = ahead.unsigned_abs();
    number(out, ahead / 3_600, 2, b'0');
    if form != OffsetForm::Plain {
        out.push(b':');
    }
    number(out, ahead / 60 % 60, 2, b'0');
    if form == OffsetForm::Seconds {
        out.push(b':');
        number(out, ahead % 60, 2, b'0');
    }
}

/// What may follow `%E`: `z`, `*z`, `4Y`, and a count of digits or `*` before `S` or `f`.
fn extended(text: &str) -> Option<(Piece, &str)> {
    let fixed = [
        ("z", Piece::Offset(OffsetForm::Colon)),
        ("*z", Piece::Offset(OffsetForm::Seconds)),
        ("4Y", Piece::Field('Y')),
    ];
    for (form, piece) in fixed {
        if let Some(rest) = text.strip_prefix(form) {
            return Some((piece, rest));
        }
    }
    let end = text.find(['S', 'f'])?;
    let (count, rest) = text.split_at(end);
    let count = match count {
        "*" => None,
        digits => Some(digits.parse::<usize>().ok()?.min(9)),
    };
    let piece = match (rest.strip_prefix('S'), count) {
        (Some(_), count) => Piece::Second(count),
        (None, Some(count)) => Piece::Fraction(count),
        (None, None) => return None,
    };
    Some((piece, &rest[1..]))
}

/// How many digits of the fraction come before nothing but zeros.
fn significant(nanosecond: u32) -> usize {
    let mut digits = 9;
    let mut left = nanosecond;
    while digits > 0 && left.is_multiple_of(10) {
        left /= 10;
        digits -= 1;
    }
    digits
}

fn fraction(out: &mut Vec<u8>, nanosecond: u32, digits: usize) {
    let start = out.len();
    number(out, u64::from(nanosecond), 9, b'0');
    out.truncate(start + digits);
}

const FIELDS: &str = "YmdHMSyjeZaAbBhDFTRpIuwGgntklcxXrCUWVP";

fn write_field(field: char, civil: &Civil, out: &mut Vec<u8>) {
    let year = civil.year.unsigned_abs();
    let month = MONTHS[usize::try_from(civil.month - 1).unwrap_or(0) % 12];
    let weekday = WEEKDAYS[usize::try_from(civil.weekday).unwrap_or(0) % 7];
    let hour12 = (civil.hour + 11) % 12 + 1;
    let monday = (civil.weekday + 6) % 7;
    match field {
        'Y' => number(out, year, 4, b'0'),
        'y' => number(out, year % 100, 2, b'0'),
        'C' => number(out, year / 100, 2, b'0'),
        'G' => number(out, civil.iso_week().0, 4, b'0'),
        'g' => number(out, civil.iso_week().0 % 100, 2, b'0'),
        'V' => number(out, civil.iso_week().1, 2, b'0'),
        'U' => number(out, (civil.day_of_year + 6 - civil.weekday) / 7, 2, b'0'),
        'W' => number(out, (civil.day_of_year + 6 - monday) / 7, 2, b'0'),
        'm' => number(out, civil.month, 2, b'0'),
        'd' => number(out, civil.day, 2, b'0'),
        'e' => number(out, civil.day, 2, b' '),
        'H' => number(out, civil.hour, 2, b'0'),
        'I' => number(out, hour12, 2, b'0'),
        'M' => number(out, civil.minute, 2, b'0'),
        'S' => number(out, civil.second, 2, b'0'),
        'j' => number(out, civil.day_of_year, 3, b'0'),
        'u' => number(out, monday + 1, 1, b'0'),
        'w' => number(out, civil.weekday, 1, b'0'),
        'a' => out.extend_from_slice(&weekday.as_bytes()[..3]),
        'A' => out.extend_from_slice(weekday.as_bytes()),
        'b' | 'h' => out.extend_from_slice(&month.as_bytes()[..3]),
        'B' => out.extend_from_slice(month.as_bytes()),
        'p' => out.extend_from_slice(if civil.hour < 12 { b"AM" } else { b"PM" }),
        'P' => out.extend_from_slice(if civil.hour < 12 { b"am" } else { b"pm" }),
        'k' => number(out, civil.hour, 2, b' '),
        'l' => number(out, hour12, 2, b' '),
        'c' => each("a b e T Y", civil, out),
        'r' => each("I:M:S p", civil, out),
        'D' | 'x' => each("m/d/y", civil, out),
        'F' => each("Y-m-d", civil, out),
        'T' | 'X' => each("H:M:S", civil, out),
        'R' => each("H:M", civil, out),
        'n' => out.push(b'\n'),
        't' => out.push(b'\t'),
        _ => {}
    }
}

fn each(fields: &str, civil: &Civil, out: &mut Vec<u8>) {
    for character in fields.chars() {
        if character.is_ascii_alphabetic() {
            write_field(character, civil, out);
        } else {
            out.push(u8::try_from(character).unwrap_or(b' '));
        }
    }
}

/// Appends a number, filled up on the left.
pub(super) fn number(out: &mut Vec<u8>, mut value: u64, width: usize, fill: u8) {
    let mut digits = [fill; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    let start = at.min(digits.len().saturating_sub(width));
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::tz::Offset;

    use super::*;

    #[test]
    fn the_usual_form_is_what_it_stands_for() {
        let (iso, same) = (TimeFormat::iso(), TimeFormat::parse("%FT%T.%3fZ").unwrap());
        assert!(iso.is_iso && !same.is_iso);
        let moments = [
            0,
            999,
            1_000,
            1_767_236_400_005,
            1_767_236_400_678,
            5,
            951_782_399_999,
        ];
        for moment in moments.map(Duration::from_millis) {
            let (mut one, mut other) = (Vec::new(), Vec::new());
            iso.write(moment, &mut one);
            same.write(moment, &mut other);
            assert_eq!(String::from_utf8(one), String::from_utf8(other));
        }
    }

    #[test]
    fn a_zone_shifts_the_clock_and_is_named() {
        const MOMENT: Duration = Duration::from_secs(1_767_236_400);
        let written = |seconds: i32| {
            let zone = TimeZone::fixed(Offset::from_seconds(seconds).unwrap());
            let format = TimeFormat::parse("%F %T %z %:z %E*z %s").unwrap();
            let mut out = Vec::new();
            let format = TimeFormat {
                zone: Some(zone),
                ..format
            };
            format.write(MOMENT, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(5 * 3600 + 1800),
            "2026-01-01 08:30:00 +0530 +05:30 +05:30:00 1767236400"
        );
        assert_eq!(
            written(-(3 * 3600 + 1815)),
            "2025-12-31 23:29:45 -0330 -03:30 -03:30:15 1767236400"
        );
    }
}
