//! Query plans, filters and index ranges as JavaScript functions send them.
//!
//! Each line is a plan, a filter or a document. Every filter meets every document; the bounds of
//! every plan make an interval that must hold exactly the keys of the documents that satisfy them.

use engine::filter::Expr;
use engine::range::{self, RangeBound, RangeOp};
use functions::{Operator, QueryPlan};
use value::{DocumentId, FieldPath, InternalId, Object, TableNumber, Value, json};

/// Most lines of one input.
const LINES_MAX: usize = 24;
const TABLE: TableNumber = TableNumber(10_001);

/// Lines of plans, filters and documents.
pub fn plans(data: &[u8]) {
    let (mut filters, mut ranges, mut documents) = (Vec::new(), Vec::new(), Vec::new());
    for line in super::lines(data).take(LINES_MAX) {
        if let Ok(Value::Object(document)) = json::parse(line) {
            documents.push(document);
        }
        let Ok(tree) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if let Ok(expression) = Expr::from_json(&tree) {
            assert_eq!(Expr::from_json(&expression.to_json()).as_ref(), Ok(&expression));
            filters.push(expression);
        }
        if let Ok(plan) = QueryPlan::from_json(&tree) {
            assert!(plan.operators.len() <= functions::OPERATORS_MAX);
            assert_eq!(plan.system, plan.table.is_system());
            assert!(plan.index.is_some() || plan.bounds.is_empty());
            filters.extend(plan.operators.into_iter().filter_map(|operator| match operator {
                Operator::Filter(expression) => Some(expression),
                Operator::Limit(_) => None,
            }));
            ranges.push(plan.bounds);
        }
    }
    for filter in &filters {
        documents.iter().for_each(|document| evaluated(filter, document));
    }
    for (place, document) in documents.iter_mut().enumerate() {
        let internal = InternalId([place as u8; 16]);
        document.insert("_id", DocumentId::new(TABLE, internal).to_string());
        document.insert("_creationTime", place as f64);
    }
    ranges.iter().for_each(|bounds| ranged(bounds, &documents));
}

/// An expression has one value for a document, and its negation the other.
fn evaluated(filter: &Expr, document: &Object) {
    let passes = filter.eval(document);
    assert_eq!(filter.eval(document), passes);
    let Ok(passes) = passes else { return };
    let not = Expr::Not(Box::new(filter.clone()));
    // One level more may be one too many.
    if let Ok(negated) = not.eval(document) {
        assert_ne!(negated, passes, "{filter:?}");
    }
}

fn ranged(bounds: &[RangeBound], documents: &[Object]) {
    let mut fields: Vec<FieldPath> = Vec::new();
    for bound in bounds {
        if !fields.contains(&bound.field) && bound.field != FieldPath::id() {
            fields.push(bound.field.clone());
        }
    }
    if !fields.contains(&FieldPath::creation_time()) {
        fields.push(FieldPath::creation_time());
    }
    if let Ok(interval) = range::interval(&fields, bounds) {
        for document in documents {
            let key = range::key_of(&fields, document);
            assert_eq!(interval.contains(&key), satisfied(bounds, document), "{bounds:?}");
        }
    }
    let on_id = bounds.iter().all(|bound| bound.field == FieldPath::id());
    match range::interval_by_id(TABLE, bounds) {
        Ok(interval) if on_id => {
            for document in documents {
                let id = document.get("_id").and_then(Value::as_str).expect("it has an id");
                let id: DocumentId = id.parse().expect("a good id");
                assert_eq!(interval.contains(&id.internal.0), satisfied(bounds, document));
            }
        }
        Ok(_) => panic!("a bound on another field in by_id: {bounds:?}"),
        Err(_) => {}
    }
}

/// What the bounds say, field by field.
fn satisfied(bounds: &[RangeBound], document: &Object) -> bool {
    bounds.iter().all(|bound| {
        let (field, value) = (document.get_path(&bound.field), bound.value.as_ref());
        match bound.op {
            RangeOp::Eq => field == value,
            RangeOp::Gt => field > value,
            RangeOp::Gte => field >= value,
            RangeOp::Lt => field < value,
            RangeOp::Lte => field <= value,
        }
    })
}
