//! Reading answers in tests.

use axum::response::Response;
use http_body_util::BodyExt as _;

pub(crate) async fn body_text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) async fn json_body(response: Response) -> serde_json::Value {
    serde_json::from_str(&body_text(response).await).unwrap()
}
