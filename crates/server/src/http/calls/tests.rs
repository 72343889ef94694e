//! Endpoints over a runtime in memory.

mod rights;

use axum::http::Request;
use serde_json::json;

use super::*;
use crate::http::testing::{
    LARGE_BYTES, World, acting_as, admin, body_text, failure, json_body, refused, success,
};

#[tokio::test]
async fn queries_mutations_and_actions() {
    let world = World::new();
    assert_eq!(world.call("query", "notes:count", json!({})).await, success(json!(0.0)));
    let added = world.call("mutation", "notes.js:add", json!([{"text":"hi"}])).await;
    let expected = json!({"status":"success","value":null,"logLines":["[LOG] hi"]});
    assert_eq!(added, expected);
    assert_eq!(world.call("query", "notes:count", json!([{}])).await, success(json!(1.0)));
    assert_eq!(world.call("action", "dir/jobs:run", json!({})).await, success(json!(3.0)));
}

#[tokio::test]
async fn functions_that_fail_answer_200() {
    let world = World::new();
    let check = async |kind: &str, path: &str, args: Tree, expected: Tree| {
        assert_eq!(world.call(kind, path, args).await, expected);
    };
    check("query", "notes:fail", json!({}), failure("\nUncaught Error: boom")).await;
    let mut refuse = failure("\nUncaught ConvexError: null");
    refuse["errorData"] = json!(null);
    check("query", "notes:refuse", json!({}), refuse).await;
    let missing = failure("\nCould not find public function for 'x:y'.");
    check("query", "x:y", json!({}), missing).await;
    let internal = failure("\nCould not find public function for 'notes:secret'.");
    check("query", "notes:secret", json!({}), internal).await;
    let wrong = "\nTrying to execute notes.js:count as Mutation, but it is defined as Query.";
    check("mutation", "notes:count", json!({}), failure(wrong)).await;
    let wrong = "\nTrying to execute notes.js:add as Action, but it is defined as Mutation.";
    check("action", "notes:add", json!({}), failure(wrong)).await;
    let answer = world.call("mutation", "notes:add", json!({})).await;
    assert!(answer["errorMessage"].as_str().unwrap().contains("ArgumentValidationError"));
}

#[tokio::test]
async fn redacted_answers_say_nothing_but_data() {
    let world = World::with(true);
    let added = world.call("mutation", "notes:add", json!({"text":"hi"})).await;
    assert_eq!(added, success(json!(null)));
    assert_eq!(world.call("query", "notes:fail", json!({})).await, failure(""));
    let mut refuse = failure("");
    refuse["errorData"] = json!(null);
    assert_eq!(world.call("query", "notes:refuse", json!({})).await, refuse);
    let missing = world.post("/api/run/x/y", &[], json!({"args":{}})).await;
    assert_eq!(missing, (200, failure("")));
}

#[tokio::test]
async fn formats_by_request_and_client() {
    let world = World::new();
    let five = json!({"$integer":"BQAAAAAAAAA="});
    let check = async |client: Option<&str>, format: Option<&str>, expected: Tree| {
        let mut body = json!({"path":"notes:echo","args":{"n":five}});
        if let Some(format) = format {
            body["format"] = json!(format);
        }
        let headers: Vec<_> = client.map(|client| ("convex-client", client)).into_iter().collect();
        let answer = world.post("/api/query", &headers, body).await;
        assert_eq!(answer, (200, success(expected)));
    };
    check(None, None, json!("5")).await;
    check(Some("npm-1.48.0"), None, five.clone()).await;
    check(Some("python-0.8.1"), None, json!("5")).await;
    check(Some("python-0.8.1"), Some("convex_encoded_json"), five.clone()).await;
    check(None, Some("export_json"), json!(5)).await;
    let run = json!({"args":{"n":five}});
    let npm = [("convex-client", "npm-1.48.0")];
    assert_eq!(world.post("/api/run/notes/echo", &npm, run).await.1, success(json!("5")));
    let bad = json!({"path":"notes:add","args":{"text":"x"},"format":"xml"});
    assert_eq!(world.refusal("/api/mutation", &[], bad).await, refused(400, "BadFormat"));
    assert_eq!(world.call("query", "notes:count", json!({})).await, success(json!(0.0)));
}

#[tokio::test]
async fn values_and_data_of_errors_in_every_format() {
    let world = World::new();
    let check = async |format: &str, expected: Tree| {
        for (path, field) in [("notes:all", "value"), ("notes:throw", "errorData")] {
            let body = json!({"path":path,"args":{},"format":format});
            let (status, answer) = world.post("/api/query", &[], body).await;
            assert_eq!((status, &answer[field]), (200, &expected), "{format} {path}");
        }
    };
    let float = |base64: &str| json!({ "$float": base64 });
    let (nan, below, zero) = (float("AAAAAAAA+H8="), float("AAAAAAAA8P8="), float("AAAAAAAAAIA="));
    let bytes = json!({"$bytes":"AQI="});
    let clean = json!(["-5", 1.0, "NaN", "-Infinity", -0.0, "AQI="]);
    check("json", clean.clone()).await;
    check("convex_clean_json", clean).await;
    let five = json!({"$integer":"+/////////8="});
    let encoded = json!([five, 1.0, nan, below, zero, bytes]);
    check("convex_encoded_json", encoded.clone()).await;
    check("convex_json", encoded).await;
    check("export_json", json!([-5, 1.0, nan, below, -0.0, bytes])).await;
}

/// Pages of other origins, and what they send while they are left (`navigator.sendBeacon`).
#[tokio::test]
async fn beacons() {
    let world = World::new();
    let origin = "https://app.example";
    for path in ["/api/mutation", "/api/sync", "/api/list_snapshot", "/nowhere"] {
        let preflight = Request::options(path)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let response = world.send(preflight, "").await;
        assert_eq!(response.status(), 200, "{path}");
        let check = |name: &str, value: &str| assert_eq!(response.headers()[name], value, "{path}");
        check("access-control-allow-origin", origin);
        check("access-control-allow-credentials", "true");
        check("access-control-allow-headers", "content-type");
        check("access-control-max-age", "86400");
    }
    let beacon = |content_type: &str| {
        Request::post("/api/mutation").header("origin", origin).header("content-type", content_type)
    };
    let body = json!({"path":"notes:add","args":{"text":"gone"}}).to_string();
    for _ in 0..2 {
        let response = world.send(beacon("application/json"), &body).await;
        assert_eq!(response.headers()["access-control-allow-origin"], origin);
        assert_eq!(json_body(response).await["value"], json!(null));
    }
    // A text needs no preflight; it is refused in a way that the page can read.
    let response = world.send(beacon("text/plain;charset=UTF-8"), &body).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["access-control-allow-origin"]),
        (400, &origin.parse().unwrap())
    );
    assert_eq!(json_body(response).await["code"], "BadJsonBody");
    assert_eq!(world.call("query", "notes:count", json!({})).await, success(json!(2.0)));
}

#[tokio::test]
async fn refusals_of_every_status_can_be_read_by_pages() {
    let world = World::new();
    for (request, expected) in [
        (Request::post("/api/query"), 400),
        (Request::get("/api/list_snapshot").header("authorization", "Bearer x.y.z"), 401),
        (Request::get("/api/list_snapshot"), 403),
        (Request::get("/api/nothing"), 404),
        (Request::get("/api/mutation"), 405),
        (Request::get("/api/sync"), 400),
    ] {
        let response = world.send(request.header("origin", "https://a.example"), "").await;
        assert_eq!(response.status(), expected);
        assert_eq!(response.headers()["access-control-allow-origin"], "https://a.example");
        assert_eq!(response.headers()["access-control-allow-credentials"], "true");
    }
}

#[tokio::test]
async fn bad_requests() {
    let world = World::new();
    let check = async |headers: &[(&str, &str)], body: Tree, code: &str| {
        assert_eq!(world.refusal("/api/query", headers, body).await, refused(400, code));
    };
    let good = json!({"path":"notes:count","args":{}});
    check(&[], json!({"path":"notes:count"}), "BadJsonBody").await;
    check(&[], json!({"args":{}}), "BadJsonBody").await;
    check(&[], json!({"path":"notes:count","args":7}), "BadJsonBody").await;
    check(&[], json!({"path":"notes:count","args":{"$x":1}}), "BadJsonBody").await;
    check(&[], json!([]), "BadJsonBody").await;
    for path in ["", "/x:y", "foo-bar:x", "a.ts:b", "a:b-c"] {
        let body = json!({"path":path,"args":{}});
        check(&[], body, "BadConvexFunctionIdentifier").await;
    }
    check(&[("convex-client", "npm")], good.clone(), "InvalidClientVersion").await;
    check(&[("convex-client", "npm-0.1.0")], good, "ClientVersionUnsupported").await;
    let response = world.send(Request::post("/api/query"), "{}").await;
    assert_eq!(response.status(), 400);
    assert_eq!(json_body(response).await["code"], "BadJsonBody");
    let response = world.send(Request::get("/api/mutation"), "").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
    assert_eq!(body_text(response).await, "");
    let response = world.send(Request::post("/api/unknown").header("origin", "http://a"), "").await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["access-control-allow-origin"], "http://a");
    assert_eq!(body_text(response).await, "");
    let preflight = Request::options("/api/unknown").header("origin", "http://a");
    let preflight = preflight.header("access-control-request-method", "POST");
    assert_eq!(world.send(preflight, "").await.status(), 200);
}

#[tokio::test]
async fn callers() {
    let world = World::new();
    let me = json!({"path":"notes:me","args":{}});
    let check = async |header: &str, expected: Tree| {
        let answer = world.post("/api/query", &[("authorization", header)], me.clone()).await;
        assert_eq!(answer, (200, success(expected)), "{header}");
    };
    check(&format!("Bearer {}", world.token), json!("alice")).await;
    check(&admin(false), json!(null)).await;
    check(&acting_as("bob"), json!("bob")).await;
    let anonymous = world.call("query", "notes:me", json!({})).await;
    assert_eq!(anonymous, success(json!(null)));
    // A bad credential fails the request, though the function would run without.
    for (header, status, code) in [
        ("Bearer x", 401, "InvalidAuthHeader"),
        ("Convex inst|00", 401, "BadAdminKey"),
        ("Basic dTpw", 400, "InvalidAdminKey"),
    ] {
        let answer = world.refusal("/api/query", &[("authorization", header)], me.clone()).await;
        assert_eq!(answer, refused(status, code));
    }
}

#[tokio::test]
async fn administrators_reach_internal_functions() {
    let world = World::new();
    let (plain, acting) = (admin(false), acting_as("bob"));
    let user = format!("Bearer {}", world.token);
    let by =
        |header: &str| -> [(&'static str, String); 1] { [("authorization", header.to_owned())] };
    let ask = async |path: &str, header: &str, body: Tree| {
        let headers = by(header);
        world.post(path, &[(headers[0].0, &headers[0].1)], body).await
    };
    let secret = json!({"path":"notes:secret","args":{}});
    let forty_two = (200, success(json!(42.0)));
    let not_found = "\nCould not find function for 'notes:secret'. \
        Did you forget to run `npx convex dev`?";
    let not_found = (200, failure(not_found));
    for header in [&plain, &acting] {
        assert_eq!(ask("/api/query", header, secret.clone()).await, forty_two);
    }
    for path in ["/api/function", "/api/run/notes/secret"] {
        assert_eq!(ask(path, &plain, secret.clone()).await, forty_two);
        assert_eq!(ask(path, &acting, secret.clone()).await, not_found);
    }
    assert_eq!(ask("/api/run/notes/secret", &user, secret.clone()).await, not_found);
    let (status, body) = ask("/api/function", &user, secret.clone()).await;
    assert_eq!((status, &body["code"]), (403, &json!("BadDeployKey")));
    let in_component = json!({"path":"notes:me","args":{},"componentPath":"other"});
    let (status, body) = ask("/api/function", &plain, in_component).await;
    assert_eq!((status, &body["code"]), (400, &json!("InvalidComponentPath")));

    let read_only = admin(true);
    assert_eq!(ask("/api/query", &read_only, secret.clone()).await, forty_two);
    for (path, call) in
        [("mutation", "notes:add"), ("action", "dir/jobs:run"), ("function", "notes:add")]
    {
        let body = json!({"path":call,"args":{"text":"x"}});
        let (status, body) = ask(&format!("/api/{path}"), &read_only, body).await;
        assert_eq!((status, &body["code"]), (403, &json!("OperationNotPermitted")), "{path}");
    }
    assert_eq!(world.call("query", "notes:count", json!({})).await, success(json!(0.0)));
}

#[tokio::test]
async fn run_by_path() {
    let world = World::new();
    let run = async |path: &str, args: Tree| {
        world.post(&format!("/api/run/{path}"), &[], json!({"args":args})).await
    };
    assert_eq!(run("notes/count", json!({})).await.1, success(json!(0.0)));
    assert_eq!(run("notes/add", json!({"text":"x"})).await.1["status"], "success");
    assert_eq!(run("dir/jobs/run", json!({})).await.1, success(json!(3.0)));
    assert_eq!(run("not%65s/count", json!([{}])).await.1, success(json!(1.0)));
    let check = async |path: &str, code: &str| {
        assert_eq!(run(path, json!({})).await.1["code"], code, "{path}");
    };
    check("notes", "MissingIdentifier").await;
    check("", "MissingIdentifier").await;
    check("no-tes/count", "BadConvexFunctionIdentifier").await;
    check("%ff/count", "BadPathArgs").await;
}

#[tokio::test]
async fn queries_by_get() {
    let world = World::new();
    let get = async |query: &str| {
        let response = world.send(Request::get(format!("/api/query?{query}")), "").await;
        json_body(response).await
    };
    assert_eq!(get("path=notes:count&args=%7B%7D").await, success(json!(0.0)));
    let echo = "path=notes%3Aecho&args=[%7B%22n%22:%7B%22$integer%22:%22BQAAAAAAAAA%3D%22%7D%7D]";
    assert_eq!(get(&format!("{echo}&format=export_json")).await, success(json!(5)));
    assert_eq!(get("args=%7B%7D").await["code"], "BadQueryArgs");
    assert_eq!(get("path=notes:count&args=x").await["code"], "BadJsonBody");
    let key = admin(false).replace("Convex ", "").replace('|', "%7C");
    let secret = get(&format!("path=notes:secret&args=%7B%7D&adminKey={key}")).await;
    assert_eq!(secret, success(json!(42.0)));
}

#[tokio::test]
async fn consistent_reads() {
    let world = World::new();
    world.call("mutation", "notes:add", json!({"text":"x"})).await;
    let ts = json_body(world.send(Request::post("/api/query_ts"), "").await).await["ts"].clone();
    world.call("mutation", "notes:add", json!({"text":"x"})).await;
    let at = async |ts: Tree| {
        world.post("/api/query_at_ts", &[], json!({"path":"notes:count","args":{},"ts":ts})).await
    };
    assert_eq!(at(ts).await, (200, success(json!(1.0))));
    assert_eq!(world.call("query", "notes:count", json!({})).await, success(json!(2.0)));
    for ts in [json!("x"), json!(Timestamp(u64::MAX).to_wire())] {
        let (status, body) = at(ts).await;
        assert_eq!((status, &body["code"]), (400, &json!("BadTimestamp")));
    }
    let (status, body) =
        world.post("/api/query_at_ts", &[], json!({"path":"notes:count","args":{}})).await;
    assert_eq!((status, &body["code"]), (400, &json!("BadJsonBody")));
    let (status, body) = at(json!(Timestamp(1).to_wire())).await;
    assert_eq!((status, &body["code"]), (503, &json!("OutOfRetention")));
}

#[tokio::test]
async fn batches() {
    let world = World::new();
    let call = |path: &str| json!({"path":path,"args":{}});
    let queries = [call("notes:count"), call("notes:fail"), call("notes:add")];
    let (status, body) = world.post("/api/query_batch", &[], json!({"queries":queries})).await;
    assert_eq!(status, 200);
    let wrong = "\nTrying to execute notes.js:add as Query, but it is defined as Mutation.";
    let expected = [success(json!(0.0)), failure("\nUncaught Error: boom"), failure(wrong)];
    assert_eq!(body, json!({"results":expected}));
    let one_bad = json!({"queries":[call("notes:count"), call("a-b:c")]});
    let code = world.refusal("/api/query_batch", &[], one_bad).await;
    assert_eq!(code, refused(400, "BadConvexFunctionIdentifier"));
    let many = vec![call("notes:count"); BATCH_QUERIES_MAX + 1];
    let code = world.refusal("/api/query_batch", &[], json!({"queries":many})).await;
    assert_eq!(code, refused(400, "BadJsonBody"));
    let none = world.post("/api/query_batch", &[], json!({"queries":[]})).await;
    assert_eq!(none, (200, json!({"results":[]})));
}

#[tokio::test]
async fn results_of_a_batch_are_bounded_together() {
    let world = World::new();
    let large = json!({"path":"notes:large","args":{}});
    let some = vec![large.clone(); BATCH_BYTES_MAX / LARGE_BYTES];
    let (status, _) = world.post("/api/query_batch", &[], json!({"queries":some})).await;
    assert_eq!(status, 200);
    let more = vec![large; BATCH_BYTES_MAX / LARGE_BYTES + 1];
    let code = world.refusal("/api/query_batch", &[], json!({"queries":more})).await;
    assert_eq!(code, refused(400, "BatchTooLarge"));
}

#[tokio::test]
async fn what_runs_here() {
    let world = World::new();
    let get = async |path: &str| {
        let response = world.send(Request::get(path).header("origin", "http://a"), "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers()["access-control-allow-origin"], "http://a");
        body_text(response).await
    };
    assert!(get("/").await.starts_with("This Convex deployment is running."));
    assert_eq!(get("/version").await, env!("CARGO_PKG_VERSION"));
    assert_eq!(get("/instance_version").await, env!("CARGO_PKG_VERSION"));
    assert_eq!(get("/instance_name").await, "inst");
    let response = world.send(Request::post("/echo"), "any bytes").await;
    assert_eq!(body_text(response).await, "any bytes");
    let response = world.send(Request::head("/version"), "").await;
    assert_eq!((response.status().as_u16(), body_text(response).await.as_str()), (200, ""));
}

#[tokio::test]
async fn development_tokens_sign_in() {
    let world = World::new();
    let page = [("origin", "http://localhost:5173")];
    let (status, body) = world.post("/dev-auth/token", &page, json!({"user":"eve"})).await;
    assert_eq!(status, 200, "{body}");
    let bearer = format!("Bearer {}", body["token"].as_str().unwrap());
    let me = json!({"path":"notes:me","args":{}});
    let answer = world.post("/api/query", &[("authorization", &bearer)], me).await;
    assert_eq!(answer, (200, success(json!("eve"))));
    let bad = world.refusal("/dev-auth/token", &page, json!({"user":""})).await;
    assert_eq!(bad, refused(400, "BadUser"));
    let stranger = [("origin", "https://evil.example")];
    let refusal = world.refusal("/dev-auth/token", &stranger, json!({"user":"eve"})).await;
    assert_eq!(refusal, refused(403, "DevAuthRefused"));
}
