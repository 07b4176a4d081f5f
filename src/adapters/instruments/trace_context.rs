//! Traces of several programs (W3C Trace Context).

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Makes the span of a request part of the caller's trace, and returns the ID of its trace.
///
/// The caller names its trace in the header `traceparent`. Without a valid one the trace begins here, or has no ID if traces
/// are off.
pub fn join_trace(span: &Span, traceparent: Option<&str>) -> Option<u128> {
    let given = traceparent.and_then(parse);
    let id = |context: &SpanContext| u128::from_be_bytes(context.trace_id().to_bytes());
    if span.is_disabled() {
        return given.as_ref().map(id);
    }
    if let Some(given) = given.clone() {
        // A span that is not traced joins nothing.
        let _ = span.set_parent(Context::new().with_remote_span_context(given));
    }
    let own = Some(span.context().span().span_context().clone()).filter(SpanContext::is_valid);
    own.or(given).as_ref().map(id)
}

/// Returns the header `traceparent` of a request that is sent now; `None` if traces are off.
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    let own = context.span().span_context().clone();
    let flags = own.trace_flags().to_u8();
    own.is_valid().then(|| format!("00-{}-{}-{flags:02x}", own.trace_id(), own.span_id()))
}

/// Parses `traceparent`; `None` if it is malformed. Fields that later versions add are ignored.
fn parse(header: &str) -> Option<SpanContext> {
    let mut fields = header.split('-');
    let mut hex = |digits: usize| {
        let is_hex = |field: &&str| {
            field.len() == digits && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        fields.next().filter(is_hex)
    };
    let (version, trace, parent, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(trace, parent, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn a_caller_names_its_trace_and_whether_it_is_sampled() {
        for (flags, is_sampled) in [("00", false), ("01", true), ("03", true)] {
            let context = parse(&format!("00-{TRACE}-{PARENT}-{flags}")).expect("a context");
            assert_eq!(context.trace_id().to_string(), TRACE);
            assert_eq!(context.span_id().to_string(), PARENT);
            assert_eq!((context.is_sampled(), context.is_remote()), (is_sampled, true));
        }
        assert!(parse(&format!("01-{TRACE}-{PARENT}-01-more")).is_some(), "a later version");
    }

    #[test]
    fn a_malformed_trace_is_no_trace() {
        let (no_trace, no_parent) = ("0".repeat(32), "0".repeat(16));
        for header in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{no_trace}-{PARENT}-01"),
            format!("00-{TRACE}-{no_parent}-01"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{}x-{PARENT}-01", &TRACE[1..]),
            format!("0-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-1"),
        ] {
            assert!(parse(&header).is_none(), "{header}");
        }
    }
}
