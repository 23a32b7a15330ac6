//! Reads AMF0 (Adobe's Action Message Format, "AMF 0", 2007) from a peer that nobody knows.
//!
//! Depth and count of values are bounded, and no memory is taken by an announced count. Strings that
//! are not UTF-8 are read lossily. AMF3 behind the AVM+ marker is noticed, not read.

/// Nested values: commands and metadata nest two or three deep. Each level is one stack frame.
pub const MAX_DEPTH: usize = 32;
/// Values of one message, inner ones included: metadata has some dozens.
pub const MAX_VALUES: usize = 1024;

/// An AMF0 value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Marker 0x00.
    Number(f64),
    /// Marker 0x01.
    Boolean(bool),
    /// Markers 0x02 (string), 0x0C (long string) and 0x0F (XML document).
    String(String),
    /// Marker 0x03, in the order in which the properties stood.
    Object(Vec<(String, Value)>),
    /// Marker 0x05.
    Null,
    /// Marker 0x06.
    Undefined,
    /// Marker 0x07: an index into the complex values before it.
    Reference(u16),
    /// Marker 0x08.
    EcmaArray(Vec<(String, Value)>),
    /// Marker 0x0A.
    StrictArray(Vec<Value>),
    /// Marker 0x0B.
    Date {
        /// Milliseconds since 1970-01-01 UTC.
        unix_ms: f64,
        /// Reserved, should be 0: minutes from UTC.
        time_zone: i16,
    },
    /// Marker 0x0D, and the reserved 0x04 (movie clip) and 0x0E (record set).
    Unsupported,
    /// Marker 0x10.
    TypedObject {
        /// The name of its class.
        class: String,
        /// Its properties.
        properties: Vec<(String, Value)>,
    },
    /// Marker 0x11: the rest of the message is AMF3.
    AvmPlus,
}

/// What could not be read. `at` counts from the start of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Amf0Error {
    /// The message ends within a value.
    #[error("value at byte {at} is cut short")]
    Truncated {
        /// Where the missing bytes should start.
        at: usize,
    },
    /// A type marker that AMF0 does not define.
    #[error("type marker {marker:#04x} at byte {at} is not defined")]
    Marker {
        /// The marker.
        marker: u8,
        /// Where.
        at: usize,
    },
    /// More than [`MAX_DEPTH`] values within each other.
    #[error("values nest more than {MAX_DEPTH} deep at byte {at}")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// More than [`MAX_VALUES`] values.
    #[error("more than {MAX_VALUES} values at byte {at}")]
    TooMany {
        /// Where.
        at: usize,
    },
}

impl Amf0Error {
    /// Whether a bound was hit, as opposed to bytes that make no sense.
    fn is_bound(&self) -> bool {
        match self {
            Self::TooDeep { .. } | Self::TooMany { .. } => true,
            Self::Truncated { .. } | Self::Marker { .. } => false,
        }
    }
}

impl Value {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The value of a number.
    pub fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The properties of an object, an ECMA array or a typed object.
    pub fn properties(&self) -> Option<&[(String, Value)]> {
        match self {
            Self::Object(properties)
            | Self::EcmaArray(properties)
            | Self::TypedObject { properties, .. } => Some(properties),
            Self::Number(_)
            | Self::Boolean(_)
            | Self::String(_)
            | Self::Null
            | Self::Undefined
            | Self::Reference(_)
            | Self::StrictArray(_)
            | Self::Date { .. }
            | Self::Unsupported
            | Self::AvmPlus => None,
        }
    }

    /// The first property of this name.
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.properties()?.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// Reads all values of a message. Behind [`Value::AvmPlus`] nothing is read.
pub fn decode(message: &[u8]) -> Result<Vec<Value>, Amf0Error> {
    let mut reader = Reader { message, at: 0, values: 0, avm_plus: false };
    let mut values = Vec::new();
    while reader.at < reader.message.len() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

struct Reader<'a> {
    /// Ends behind the AVM+ marker, once that has come.
    message: &'a [u8],
    at: usize,
    values: usize,
    avm_plus: bool,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Amf0Error> {
        let at = self.at;
        if depth == MAX_DEPTH {
            return Err(Amf0Error::TooDeep { at });
        }
        if self.values == MAX_VALUES {
            return Err(Amf0Error::TooMany { at });
        }
        self.values += 1;
        let [marker] = self.array()?;
        Ok(match marker {
            0x00 => Value::Number(f64::from_be_bytes(self.array()?)),
            0x01 => Value::Boolean(self.array::<1>()? != [0]),
            0x02 => Value::String(self.string()?),
            0x03 => Value::Object(self.properties(None, depth)?),
            0x04 | 0x0D | 0x0E => Value::Unsupported,
            0x05 => Value::Null,
            0x06 => Value::Undefined,
            0x07 => Value::Reference(u16::from_be_bytes(self.array()?)),
            0x08 => {
                let count = u32::from_be_bytes(self.array()?);
                Value::EcmaArray(self.properties(Some(count), depth)?)
            }
            0x0A => {
                let count = u32::from_be_bytes(self.array()?);
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(depth + 1)?);
                    if self.avm_plus {
                        break;
                    }
                }
                Value::StrictArray(values)
            }
            0x0B => Value::Date {
                unix_ms: f64::from_be_bytes(self.array()?),
                time_zone: i16::from_be_bytes(self.array()?),
            },
            0x0C | 0x0F => {
                let length = u32::from_be_bytes(self.array()?);
                Value::String(self.text(length as usize)?)
            }
            0x10 => Value::TypedObject {
                class: self.string()?,
                properties: self.properties(None, depth)?,
            },
            0x11 => {
                self.message = &self.message[..self.at];
                self.avm_plus = true;
                Value::AvmPlus
            }
            _ => return Err(Amf0Error::Marker { marker, at }),
        })
    }

    /// Reads properties up to the object end marker or the end of the message. The count of an ECMA
    /// array is a hint: it may be 0 or too small, and encoders leave out the end marker. So where
    /// what follows the counted properties does not read as more of them, the array ends there.
    fn properties(
        &mut self,
        count: Option<u32>,
        depth: usize,
    ) -> Result<Vec<(String, Value)>, Amf0Error> {
        let mut properties = Vec::new();
        let mut counted_end = None;
        loop {
            if self.at == self.message.len() {
                return Ok(properties);
            }
            if self.message[self.at..].starts_with(&[0, 0, 9]) {
                self.at += 3;
                return Ok(properties);
            }
            if count.is_some_and(|count| count > 0 && count as usize == properties.len()) {
                counted_end = Some(self.at);
            }
            match (self.property(depth), counted_end) {
                (Ok(property), _) => properties.push(property),
                (Err(e), Some(end)) if !e.is_bound() => {
                    self.at = end;
                    properties.truncate(count.unwrap_or_default() as usize);
                    return Ok(properties);
                }
                (Err(e), _) => return Err(e),
            }
        }
    }

    fn property(&mut self, depth: usize) -> Result<(String, Value), Amf0Error> {
        Ok((self.string()?, self.value(depth + 1)?))
    }

    fn string(&mut self) -> Result<String, Amf0Error> {
        let length = u16::from_be_bytes(self.array()?);
        self.text(usize::from(length))
    }

    fn text(&mut self, length: usize) -> Result<String, Amf0Error> {
        let end = self.at.checked_add(length);
        let bytes = end.and_then(|end| self.message.get(self.at..end));
        let bytes = bytes.ok_or(Amf0Error::Truncated { at: self.message.len() })?;
        self.at += length;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Amf0Error> {
        let bytes = self.message[self.at..].first_chunk();
        let bytes = bytes.ok_or(Amf0Error::Truncated { at: self.message.len() })?;
        self.at += N;
        Ok(*bytes)
    }
}

#[cfg(test)]
mod tests;
