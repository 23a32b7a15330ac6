//! Writes AMF0 as a peer would.

use crate::rtmp::amf0::Value;

/// AMF0 values as bytes.
pub(in crate::rtmp) fn amf(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| write_value(&mut out, value));
    out
}

/// An AMF0 string.
pub(in crate::rtmp) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// An AMF0 object.
pub(in crate::rtmp) fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    Value::Object(properties.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.push(0x00);
            out.extend(number.to_be_bytes());
        }
        Value::Boolean(is) => out.extend([0x01, (*is).into()]),
        Value::String(text) if text.len() > 0xFFFF => {
            out.push(0x0C);
            out.extend((text.len() as u32).to_be_bytes());
            out.extend(text.as_bytes());
        }
        Value::String(text) => {
            out.push(0x02);
            write_name(out, text);
        }
        Value::Object(properties) => {
            out.push(0x03);
            write_properties(out, properties);
        }
        Value::Null => out.push(0x05),
        Value::Undefined => out.push(0x06),
        Value::Reference(index) => {
            out.push(0x07);
            out.extend(index.to_be_bytes());
        }
        Value::EcmaArray(properties) => {
            out.push(0x08);
            out.extend((properties.len() as u32).to_be_bytes());
            write_properties(out, properties);
        }
        Value::StrictArray(values) => {
            out.push(0x0A);
            out.extend((values.len() as u32).to_be_bytes());
            values.iter().for_each(|value| write_value(out, value));
        }
        Value::Date { unix_ms, time_zone } => {
            out.push(0x0B);
            out.extend(unix_ms.to_be_bytes());
            out.extend(time_zone.to_be_bytes());
        }
        Value::Unsupported => out.push(0x0D),
        Value::TypedObject { class, properties } => {
            out.push(0x10);
            write_name(out, class);
            write_properties(out, properties);
        }
        Value::AvmPlus => out.push(0x11),
    }
}

fn write_properties(out: &mut Vec<u8>, properties: &[(String, Value)]) {
    for (name, value) in properties {
        write_name(out, name);
        write_value(out, value);
    }
    out.extend([0, 0, 9]);
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    out.extend((name.len() as u16).to_be_bytes());
    out.extend(name.as_bytes());
}
