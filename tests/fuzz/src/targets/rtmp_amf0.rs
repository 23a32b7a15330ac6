//! AMF0 values. Input: the payload of a command.

use media::rtmp::amf0::{MAX_DEPTH, MAX_VALUES, Value, decode};

pub(crate) fn run(data: &[u8]) {
    let Ok(values) = decode(data) else { return };
    let mut seen = Seen::default();
    values.iter().for_each(|value| seen.value(value, 1));
    assert!(seen.values <= MAX_VALUES, "{} values", seen.values);
    assert!(seen.depth <= MAX_DEPTH, "{} deep", seen.depth);
    assert!(seen.values <= data.len(), "each value has a marker");
    // A byte that is not UTF-8 becomes a replacement character of three.
    assert!(seen.text_bytes <= 3 * data.len(), "{} bytes of text", seen.text_bytes);

    // Bytes are compared, as a number may be no number.
    let Some(written) = write_all(&values) else { return };
    let again = decode(&written).expect("what is written can be read");
    assert_eq!(write_all(&again), Some(written));
    assert_eq!(again.len(), values.len());
}

/// What stands in values.
#[derive(Default)]
struct Seen {
    values: usize,
    depth: usize,
    text_bytes: usize,
}

impl Seen {
    fn value(&mut self, value: &Value, depth: usize) {
        self.values += 1;
        self.depth = self.depth.max(depth);
        match value {
            Value::String(text) => self.text_bytes += text.len(),
            Value::StrictArray(values) => values.iter().for_each(|v| self.value(v, depth + 1)),
            Value::TypedObject { class, .. } => self.text_bytes += class.len(),
            _ => {}
        }
        for (name, inner) in value.properties().unwrap_or_default() {
            self.text_bytes += name.len();
            self.value(inner, depth + 1);
            assert!(value.property(name).is_some());
        }
    }
}

/// `None` where a name has become too long to be written.
fn write_all(values: &[Value]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    values.iter().try_for_each(|value| write(&mut out, value))?;
    Some(out)
}

fn write(out: &mut Vec<u8>, value: &Value) -> Option<()> {
    match value {
        Value::Number(number) => {
            out.push(0x00);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Boolean(is) => out.extend_from_slice(&[0x01, (*is).into()]),
        Value::String(text) => {
            out.push(0x0C);
            out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Value::Object(properties) => {
            out.push(0x03);
            write_properties(out, properties)?;
        }
        Value::Null => out.push(0x05),
        Value::Undefined => out.push(0x06),
        Value::Reference(index) => {
            out.push(0x07);
            out.extend_from_slice(&index.to_be_bytes());
        }
        Value::EcmaArray(properties) => {
            out.push(0x08);
            out.extend_from_slice(&(properties.len() as u32).to_be_bytes());
            write_properties(out, properties)?;
        }
        Value::StrictArray(values) => {
            out.push(0x0A);
            out.extend_from_slice(&(values.len() as u32).to_be_bytes());
            values.iter().try_for_each(|value| write(out, value))?;
        }
        Value::Date { unix_ms, time_zone } => {
            out.push(0x0B);
            out.extend_from_slice(&unix_ms.to_be_bytes());
            out.extend_from_slice(&time_zone.to_be_bytes());
        }
        Value::Unsupported => out.push(0x0D),
        Value::TypedObject { class, properties } => {
            out.push(0x10);
            write_name(out, class)?;
            write_properties(out, properties)?;
        }
        Value::AvmPlus => out.push(0x11),
    }
    Some(())
}

fn write_properties(out: &mut Vec<u8>, properties: &[(String, Value)]) -> Option<()> {
    for (name, value) in properties {
        write_name(out, name)?;
        write(out, value)?;
    }
    out.extend_from_slice(&[0, 0, 9]);
    Some(())
}

fn write_name(out: &mut Vec<u8>, name: &str) -> Option<()> {
    out.extend_from_slice(&u16::try_from(name.len()).ok()?.to_be_bytes());
    out.extend_from_slice(name.as_bytes());
    Some(())
}
