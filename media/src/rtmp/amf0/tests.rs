use std::collections::HashMap;

use proptest::prelude::*;
use rml_amf0::Amf0Value;

use super::*;
use crate::rtmp::wire::{amf, object, text};

/// Decodes a message of one value.
fn one(message: &[u8]) -> Result<Value, Amf0Error> {
    let mut values = decode(message)?;
    assert_eq!(values.len(), 1, "{values:?}");
    Ok(values.remove(0))
}

fn pairs<const N: usize>(properties: [(&str, Value); N]) -> Vec<(String, Value)> {
    properties.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

#[test]
fn every_marker_is_read() {
    for (message, value) in [
        (&b"\x00\x40\x09\x21\xFB\x54\x44\x2D\x18"[..], Value::Number(std::f64::consts::PI)),
        (b"\x01\x00", Value::Boolean(false)),
        (b"\x01\x01", Value::Boolean(true)),
        (b"\x01\x07", Value::Boolean(true)),
        (b"\x02\x00\x03cam", text("cam")),
        (b"\x02\x00\x00", text("")),
        (
            b"\x03\x00\x01a\x05\x00\x01b\x06\x00\x00\x09",
            object([("a", Value::Null), ("b", Value::Undefined)]),
        ),
        (b"\x03\x00\x00\x09", object([])),
        (b"\x04", Value::Unsupported),
        (b"\x05", Value::Null),
        (b"\x06", Value::Undefined),
        (b"\x07\x01\x02", Value::Reference(0x0102)),
        (
            b"\x08\x00\x00\x00\x01\x00\x01a\x05\x00\x00\x09",
            Value::EcmaArray(pairs([("a", Value::Null)])),
        ),
        (b"\x0A\x00\x00\x00\x02\x05\x06", Value::StrictArray(vec![Value::Null, Value::Undefined])),
        (b"\x0A\x00\x00\x00\x00", Value::StrictArray(vec![])),
        (
            b"\x0B\x42\x76\x6B\x3E\x8C\x54\x00\x00\xFF\xC4",
            Value::Date { unix_ms: 1_540_616_668_480.0, time_zone: -60 },
        ),
        (b"\x0C\x00\x00\x00\x03cam", text("cam")),
        (b"\x0D", Value::Unsupported),
        (b"\x0E", Value::Unsupported),
        (b"\x0F\x00\x00\x00\x04<a/>", text("<a/>")),
        (
            b"\x10\x00\x01C\x00\x01a\x05\x00\x00\x09",
            Value::TypedObject { class: "C".to_owned(), properties: pairs([("a", Value::Null)]) },
        ),
        (b"\x11", Value::AvmPlus),
    ] {
        assert_eq!(one(message), Ok(value), "{message:02X?}");
    }
}

#[test]
fn a_marker_that_is_not_defined_is_refused_where_it_stands() {
    // 9 ends an object, and stands only behind an empty name.
    for marker in (0x12..=0xFF).chain([0x09]) {
        let refused = decode(&[&[0x05, 0x05], &[marker][..], &[0; 20]].concat());
        assert_eq!(refused, Err(Amf0Error::Marker { marker, at: 2 }));
        let refused = decode(&[&b"\x03\x00\x01a"[..], &[marker], &[0; 20]].concat());
        assert_eq!(refused, Err(Amf0Error::Marker { marker, at: 4 }));
    }
}

#[test]
fn values_stand_one_after_the_other() {
    assert_eq!(decode(b""), Ok(vec![]));
    let values = vec![
        text("connect"),
        Value::Number(1.0),
        object([("app", text("live")), ("fpad", Value::Boolean(false))]),
        Value::Null,
    ];
    assert_eq!(decode(&amf(&values)), Ok(values));
}

#[test]
fn a_long_string_may_be_longer_than_a_short_one() {
    let long = "x".repeat(0x1_0001);
    assert_eq!(one(&amf(&[text(&long)])), Ok(text(&long)));
}

#[test]
fn strings_that_are_not_utf_8_are_read_with_replacement_characters() {
    assert_eq!(one(b"\x02\x00\x04a\xFF\xFEb"), Ok(text("a\u{FFFD}\u{FFFD}b")));
    // Latin-1, as some encoders write titles; and in a name.
    assert_eq!(
        one(b"\x03\x00\x02\xE9t\x02\x00\x02\xE9t\x00\x00\x09"),
        Ok(object([("\u{FFFD}t", text("\u{FFFD}t"))]))
    );
}

#[test]
fn what_follows_the_avm_plus_marker_is_left_alone() {
    // AMF3 behind it; 0xFF is no AMF0 marker.
    assert_eq!(decode(b"\x05\x11\xFF\xFF"), Ok(vec![Value::Null, Value::AvmPlus]));
}

#[test]
fn an_avm_plus_marker_within_other_values_ends_the_message_too() {
    let ended = object([("a", Value::Null), ("b", Value::AvmPlus)]);
    assert_eq!(decode(b"\x03\x00\x01a\x05\x00\x01b\x11\xFF\xFF"), Ok(vec![ended]));
    let ended = Value::EcmaArray(pairs([("a", Value::AvmPlus)]));
    assert_eq!(decode(b"\x08\x00\x00\x00\x01\x00\x01a\x11\x0A\x0B\x01"), Ok(vec![ended]));
    let ended = Value::StrictArray(vec![Value::AvmPlus]);
    assert_eq!(decode(b"\x05\x0A\x00\x00\x00\x09\x11\xFF"), Ok(vec![Value::Null, ended]));
}

fn three() -> Vec<(String, Value)> {
    pairs([("a", Value::Number(1.0)), ("b", text("two")), ("c", Value::Null)])
}

/// An ECMA array of three properties that announces `count`, with or without its end marker.
fn ecma_array(count: u32, end: bool) -> Vec<u8> {
    let mut message = amf(&[Value::EcmaArray(three())]);
    message[1..5].copy_from_slice(&count.to_be_bytes());
    message.truncate(message.len() - if end { 0 } else { 3 });
    message
}

#[test]
fn the_count_of_an_ecma_array_may_be_wrong() {
    for count in [0, 1, 2, 3, 4, 1000, u32::MAX] {
        let message = [&ecma_array(count, true)[..], &amf(&[text("next")])].concat();
        let expected = vec![Value::EcmaArray(three()), text("next")];
        assert_eq!(decode(&message), Ok(expected), "{count}");
    }
}

#[test]
fn the_last_array_or_object_may_lack_its_end_marker() {
    for count in [0, 1, 2, 3, 4, 1000, u32::MAX] {
        assert_eq!(one(&ecma_array(count, false)), Ok(Value::EcmaArray(three())), "{count}");
    }
    assert_eq!(one(b"\x03\x00\x01a\x05"), Ok(object([("a", Value::Null)])));
    assert_eq!(one(b"\x03"), Ok(object([])));
}

#[test]
fn an_array_without_its_end_marker_ends_where_its_count_says() {
    for next in [
        Value::Null,
        Value::Number(1.0),
        text("next"),
        object([("a", Value::Null)]),
        Value::EcmaArray(three()),
        Value::Boolean(true),
    ] {
        let message = [&ecma_array(3, false)[..], &amf(std::slice::from_ref(&next))].concat();
        assert_eq!(decode(&message), Ok(vec![Value::EcmaArray(three()), next]));
    }
}

#[test]
fn what_reads_as_a_further_property_at_first_is_given_back() {
    // A number whose first bytes are an empty name and null.
    let number = b"\x00\x00\x05\xFF\xFF\xFF\xFF\xFF\xFF";
    let message = [&b"\x08\x00\x00\x00\x01\x00\x01a\x05"[..], number].concat();
    let array = Value::EcmaArray(pairs([("a", Value::Null)]));
    let number = Value::Number(f64::from_bits(0x0005_FFFF_FFFF_FFFF));
    assert_eq!(decode(&message), Ok(vec![array, number]));
}

#[test]
fn a_count_of_0_does_not_say_where_an_array_ends() {
    let message = [&ecma_array(0, false)[..], b"\x00\x05wid"].concat();
    let at = message.len();
    assert_eq!(decode(&message), Err(Amf0Error::Truncated { at }));
}

#[test]
fn a_bound_that_is_hit_behind_the_counted_properties_is_hit() {
    let counted = [&b"\x08\x00\x00\x00\x01\x00\x01a\x05\x00\x01b"[..], &nested(40, OPENERS[0])];
    let refused = decode(&counted.concat());
    assert_eq!(refused, Err(Amf0Error::TooDeep { at: 5 + 4 + 3 + 4 * (MAX_DEPTH - 1) }));
    let counted = [&b"\x08\x00\x00\x00\x01"[..], &b"\x00\x01a\x05".repeat(MAX_VALUES)];
    let refused = decode(&counted.concat());
    assert!(matches!(refused, Err(Amf0Error::TooMany { .. })), "{refused:?}");
}

#[test]
fn a_name_may_stand_twice_and_the_first_is_found() {
    let value = object([("a", Value::Number(1.0)), ("a", Value::Number(2.0))]);
    let read = one(&amf(std::slice::from_ref(&value))).unwrap();
    assert_eq!(read, value);
    assert_eq!(read.property("a").and_then(Value::as_number), Some(1.0));
    assert_eq!(read.property("b"), None);
    assert_eq!(Value::Null.property("a"), None);
}

/// `levels` values within each other, the last one null, by what opens each level.
fn nested(levels: usize, open: &[u8]) -> Vec<u8> {
    [&open.repeat(levels - 1)[..], &[0x05]].concat()
}

/// What opens a level: an object, an ECMA array, a strict array, a typed object.
const OPENERS: [&[u8]; 4] = [
    b"\x03\x00\x01a",
    b"\x08\x00\x00\x00\x01\x00\x01a",
    b"\x0A\x00\x00\x00\x01",
    b"\x10\x00\x01C\x00\x01a",
];

#[test]
fn values_may_nest_32_deep_and_no_deeper() {
    for open in OPENERS {
        assert!(decode(&nested(MAX_DEPTH, open)).is_ok());
        let at = MAX_DEPTH * open.len();
        let refused = decode(&nested(MAX_DEPTH + 1, open));
        assert_eq!(refused, Err(Amf0Error::TooDeep { at }), "{open:02X?}");
    }
}

#[test]
fn thousands_of_levels_are_refused_at_the_33rd() {
    // 13 KB of objects and 33 KB of arrays have overflowed the stack of two servers.
    for open in OPENERS {
        let refused = decode(&nested(6500, open));
        assert_eq!(refused, Err(Amf0Error::TooDeep { at: MAX_DEPTH * open.len() }));
    }
}

#[test]
fn a_message_may_have_1024_values_and_no_more() {
    assert_eq!(decode(&[0x05; MAX_VALUES]).map(|values| values.len()), Ok(MAX_VALUES));
    let refused = decode(&[0x05; MAX_VALUES + 1]);
    assert_eq!(refused, Err(Amf0Error::TooMany { at: MAX_VALUES }));
    // Inner values count, as does what holds them.
    for (count, fits) in [(MAX_VALUES - 1, true), (MAX_VALUES, false)] {
        let properties = vec![(String::new(), Value::Null); count];
        for value in [
            Value::StrictArray(vec![Value::Null; count]),
            Value::EcmaArray(properties.clone()),
            Value::Object(properties),
        ] {
            let read = decode(&amf(&[value]));
            assert_eq!(read.is_ok(), fits, "{count}");
            assert!(fits || matches!(read, Err(Amf0Error::TooMany { .. })));
        }
    }
}

#[test]
fn an_announced_count_or_length_alone_takes_nothing() {
    for message in [
        &b"\x0A\xFF\xFF\xFF\xFF"[..],
        b"\x0A\x08\x00\x00\x00\x05",
        b"\x02\xFF\xFFabc",
        b"\x0C\xFF\xFF\xFF\xFFabc",
        b"\x0F\x7F\xFF\xFF\xFFabc",
        b"\x10\xFF\xFFabc",
        b"\x03\xFF\xFFabc",
    ] {
        let at = message.len();
        assert_eq!(decode(message), Err(Amf0Error::Truncated { at }), "{message:02X?}");
    }
}

#[test]
fn arrays_with_lying_counts_and_no_ends_are_read_within_the_bound_of_values() {
    // Each level tries what follows as a further property, and so do all the levels around it.
    let message = [&OPENERS[1].repeat(30)[..], &[0x05], &b"\x00\x01a\x05".repeat(300), &[0xFF]];
    assert!(decode(&message.concat()).is_err());
}

/// One value of each kind, by hand and nested.
fn medley() -> Vec<Value> {
    let date = Value::Date { unix_ms: 1.0, time_zone: 0 };
    let typed = Value::TypedObject { class: "C".to_owned(), properties: three() };
    let array = Value::StrictArray(vec![Value::Boolean(true), Value::Unsupported, date]);
    let inner = object([("array", array), ("typed", typed), ("ecma", Value::EcmaArray(three()))]);
    vec![text("onMetaData"), inner, Value::Reference(7), Value::Undefined, Value::AvmPlus]
}

#[test]
fn every_truncation_gives_the_values_before_it_or_says_where_it_is() {
    let values = medley();
    let message = amf(&values);
    assert_eq!(decode(&message), Ok(values.clone()));
    for end in 0..message.len() {
        match decode(&message[..end]) {
            Err(error) => assert_eq!(error, Amf0Error::Truncated { at: end }),
            Ok(read) => {
                // An object may lack its end, so the last value may be a part of what it was.
                let before = read.len().saturating_sub(1);
                assert_eq!(read[..before], values[..before], "cut at {end}");
            }
        }
    }
}

/// A value as `rml_amf0` has it, with depths and sizes of honest metadata.
fn rml_value() -> impl Strategy<Value = Amf0Value> {
    use prop::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    let number = POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE;
    let leaf = prop_oneof![
        number.prop_map(Amf0Value::Number),
        any::<bool>().prop_map(Amf0Value::Boolean),
        ".{0,20}".prop_map(Amf0Value::Utf8String),
        Just(Amf0Value::Null),
        Just(Amf0Value::Undefined),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let properties = prop::collection::hash_map(".{1,10}", inner.clone(), 0..6);
        prop_oneof![
            properties.prop_map(Amf0Value::Object),
            prop::collection::vec(inner, 0..6).prop_map(Amf0Value::StrictArray),
        ]
    })
}

/// Our value as theirs; `None` for kinds that they do not have.
fn to_rml(value: &Value) -> Option<Amf0Value> {
    Some(match value {
        Value::Number(number) => Amf0Value::Number(*number),
        Value::Boolean(is) => Amf0Value::Boolean(*is),
        Value::String(text) => Amf0Value::Utf8String(text.clone()),
        Value::Null => Amf0Value::Null,
        Value::Undefined => Amf0Value::Undefined,
        Value::StrictArray(values) => {
            Amf0Value::StrictArray(values.iter().map(to_rml).collect::<Option<_>>()?)
        }
        Value::Object(properties) => {
            let pairs = properties.iter().map(|(name, v)| Some((name.clone(), to_rml(v)?)));
            Amf0Value::Object(pairs.collect::<Option<HashMap<_, _>>>()?)
        }
        Value::Reference(_)
        | Value::EcmaArray(_)
        | Value::Date { .. }
        | Value::Unsupported
        | Value::TypedObject { .. }
        | Value::AvmPlus => return None,
    })
}

/// Any value whose text can be written as it was.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(|n| Value::Number(n.into())),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,20}".prop_map(Value::String),
        any::<u16>().prop_map(Value::Reference),
        (any::<i32>(), any::<i16>())
            .prop_map(|(ms, time_zone)| Value::Date { unix_ms: ms.into(), time_zone }),
        prop::sample::select(vec![Value::Null, Value::Undefined, Value::Unsupported]),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let properties = prop::collection::vec((".{1,10}", inner.clone()), 0..6);
        prop_oneof![
            properties.clone().prop_map(Value::Object),
            properties.clone().prop_map(Value::EcmaArray),
            (".{0,10}", properties)
                .prop_map(|(class, properties)| Value::TypedObject { class, properties }),
            prop::collection::vec(inner, 0..6).prop_map(Value::StrictArray),
        ]
    })
}

proptest! {
    #[test]
    fn what_rml_amf0_writes_is_read(values in prop::collection::vec(rml_value(), 0..4)) {
        let message = rml_amf0::serialize(&values).unwrap();
        let read = decode(&message).unwrap();
        prop_assert_eq!(read.iter().map(to_rml).collect::<Option<Vec<_>>>(), Some(values));
    }

    #[test]
    fn any_values_survive_the_round_trip(values in prop::collection::vec(value(), 0..4)) {
        prop_assert_eq!(decode(&amf(&values)), Ok(values));
    }

    #[test]
    fn no_truncation_makes_it_panic(values in prop::collection::vec(value(), 1..4), cut: prop::sample::Index) {
        let message = amf(&values);
        let _ = decode(&message[..cut.index(message.len())]);
    }

    #[test]
    fn no_bytes_make_it_panic(message in prop::collection::vec(prop_oneof![0..18_u8, any::<u8>()], 0..400)) {
        let _ = decode(&message);
    }
}
