//! Reading and writing the nodes of an ONNX graph.

use tract_onnx::pb::{
    self, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value as DimValue},
    type_proto,
};

/// The domain of ONNX Runtime's own operators.
pub(super) const MICROSOFT: &str = "com.microsoft";

/// A node's attributes, by name and with defaults.
pub(super) trait Attributes {
    fn find(&self, name: &str) -> Option<&pb::AttributeProto>;

    fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |attribute| attribute.i)
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).map_or(default, |attribute| attribute.f)
    }

    fn ints(&self, name: &str) -> Option<&[i64]> {
        self.find(name).map(|attribute| attribute.ints.as_slice())
    }
}

impl Attributes for NodeProto {
    fn find(&self, name: &str) -> Option<&pb::AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }
}

/// Whether a node is this operator of the default domain.
pub(super) fn is_standard(node: &NodeProto, op_type: &str) -> bool {
    node.op_type == op_type && (node.domain.is_empty() || node.domain == "ai.onnx")
}

/// Input `index`, if it is there.
pub(super) fn input(node: &NodeProto, index: usize) -> Option<&str> {
    node.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
}

/// A graph port with symbolic dimensions, e.g. `["1", "S"]`.
pub(super) fn port(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| Dimension {
        denotation: String::new(),
        value: Some(match text.parse() {
            Ok(number) => DimValue::DimValue(number),
            Err(_) => DimValue::DimParam((*text).to_owned()),
        }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        doc_string: String::new(),
        r#type: Some(TypeProto {
            denotation: String::new(),
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type,
                shape: Some(TensorShapeProto { dim: dims.iter().map(dim).collect() }),
            })),
        }),
    }
}

/// The element type of a port, as ONNX numbers it.
pub(super) fn elem_type(port: &ValueInfoProto) -> Option<i32> {
    match port.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor.elem_type),
        #[allow(unreachable_patterns)]
        _ => None,
    }
}
