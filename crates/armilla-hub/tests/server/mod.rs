//! A hub in this process: repositories in memory behind the endpoints that pull and push use, with faults on order.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The token that a private hub asks for.
pub(crate) const TOKEN: &str = "hf_test";
/// Files of these bytes and more are kept in large-file storage.
const LARGE: usize = 1000;
/// Bytes of a part where uploads come in parts.
const PART: usize = 4000;

/// What the hub holds and what it was asked.
#[derive(Default)]
pub(crate) struct State {
    /// Files by repository (`datasets/a/b`) and path.
    pub(crate) repositories: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Tags by repository.
    pub(crate) tags: BTreeMap<String, Vec<String>>,
    /// Contents of the storage by SHA-256.
    pub(crate) storage: BTreeMap<String, Vec<u8>>,
    /// Parts of uploads, by address.
    parts: BTreeMap<String, Vec<u8>>,
    /// Requests, `GET /path` each, with the range that was asked for.
    pub(crate) requests: Vec<String>,
    /// Everything asks for the token.
    pub(crate) private: bool,
    /// Downloads break off after so many bytes each; so many times.
    pub(crate) cut: Option<(usize, usize)>,
    /// Downloads of this path come with one byte changed.
    pub(crate) changed: Option<String>,
    /// A path that the listing gives in place of every file's own.
    pub(crate) listed_as: Option<String>,
    /// Uploads are asked for in parts.
    pub(crate) in_parts: bool,
    /// Downloads know no ranges.
    pub(crate) without_ranges: bool,
}

/// The hub; it serves as long as the process lives.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, address) = (Arc::clone(&state), endpoint.clone());
        let serve = move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in the middle is part of the game.
                answer(&stream, &address, &shared).ok();
            }
        };
        let builder = std::thread::Builder::new().name("hub".to_owned());
        builder.spawn(serve).unwrap();
        Self { endpoint, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a file to a repository such as `datasets/a/b`.
    pub(crate) fn add(&self, repository: &str, path: &str, contents: &[u8]) {
        let mut state = self.state();
        let files = state.repositories.entry(repository.to_owned()).or_default();
        files.insert(path.to_owned(), contents.to_vec());
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Bytes of the body that are sent before the connection breaks.
    sent: usize,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: Vec::new(),
            sent: body.len(),
            body,
        }
    }

    fn json(value: &Value) -> Self {
        Self::new(200, value.to_string())
    }

    fn refusal(status: u16, problem: &str) -> Self {
        Self::new(status, json!({"error": problem}).to_string())
    }
}

fn answer(stream: &TcpStream, endpoint: &str, state: &Mutex<State>) -> std::io::Result<()> {
    let request = read(stream)?;
    let answer = {
        let mut state = state.lock().unwrap();
        let range = request.headers.get("range").cloned().unwrap_or_default();
        let line = format!("{} {} {range}", request.method, request.path);
        state.requests.push(line.trim().to_owned());
        state.answer(&request, endpoint)
    };
    let mut head = format!("HTTP/1.1 {} it\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", answer.body.len());
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(&answer.body[..answer.sent])?;
    }
    Ok(())
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    if headers.contains_key("expect") {
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request {
        method,
        path,
        headers,
        body,
    })
}

impl State {
    fn answer(&mut self, request: &Request, endpoint: &str) -> Answer {
        let path = request.path.clone();
        let path = path
            .trim_start_matches('/')
            .split('?')
            .next()
            .unwrap_or_default();
        if let Some(address) = path.strip_prefix("store/") {
            return self.store(request, address);
        }
        let token = format!("Bearer {TOKEN}");
        if self.private && request.headers.get("authorization") != Some(&token) {
            return Answer::refusal(401, "Invalid username or password.");
        }
        let json: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if path == "api/repos/create" {
            return self.create(&json);
        }
        if let Some((repository, rest)) = path.split_once(".git/") {
            assert_eq!(rest, "info/lfs/objects/batch");
            assert!(self.repositories.contains_key(repository), "{repository}");
            // The storage is elsewhere: another name of the same host.
            return self.batch(&json, &endpoint.replace("127.0.0.1", "localhost"));
        }
        if let Some((repository, rest)) = path.split_once("/resolve/") {
            return self.resolve(request, repository, rest);
        }
        let parts: Vec<_> = path.split('/').collect();
        let ["api", kind, owner, name, what, revision] = parts[..] else {
            return Answer::refusal(404, "no such endpoint");
        };
        let prefix = if kind == "models" { "" } else { "datasets/" };
        let repository = format!("{prefix}{owner}/{name}");
        let commit = self.repositories.get(&repository).map(commit);
        let is_tag = request.method == "DELETE";
        match commit {
            Some(commit) if ["main", commit.as_str()].contains(&revision) || is_tag => {}
            Some(_) => return Answer::refusal(404, "Invalid rev id"),
            None => return Answer::refusal(404, "Repository not found"),
        }
        match (request.method.as_str(), what) {
            ("GET", "revision") => self.listing(&repository),
            ("POST", "preupload") => preupload(&json),
            ("POST", "commit") => self.commit(&repository, &request.body),
            ("POST", "tag") => {
                let tags = self.tags.entry(repository).or_default();
                tags.push(json["tag"].as_str().unwrap().to_owned());
                Answer::json(&json!({}))
            }
            ("DELETE", "tag") => {
                let tags = self.tags.entry(repository).or_default();
                let known = tags.len();
                tags.retain(|tag| tag != revision);
                Answer::refusal(if tags.len() == known { 404 } else { 200 }, "tag")
            }
            _ => Answer::refusal(405, "no such endpoint"),
        }
    }

    fn create(&mut self, json: &Value) -> Answer {
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        let prefix = if text("type") == "model" {
            ""
        } else {
            "datasets/"
        };
        let repository = format!("{prefix}{}/{}", text("organization"), text("name"));
        if self.repositories.contains_key(&repository) {
            return Answer::refusal(409, "You already created this repo");
        }
        let first = BTreeMap::from([(".gitattributes".to_owned(), b"*.mp4 lfs\n".to_vec())]);
        self.repositories.insert(repository, first);
        Answer::json(&json!({"url": "somewhere"}))
    }

    fn listing(&self, repository: &str) -> Answer {
        let files = &self.repositories[repository];
        let siblings = files.iter().map(|(path, contents)| {
            let name = self.listed_as.as_ref().unwrap_or(path);
            let mut file =
                json!({"rfilename": name, "size": contents.len(), "blobId": blob(contents)});
            if contents.len() >= LARGE {
                file["lfs"] =
                    json!({"sha256": sha256(contents), "size": contents.len(), "pointerSize": 1});
            }
            file
        });
        let siblings: Vec<_> = siblings.collect();
        Answer::json(&json!({"sha": commit(files), "siblings": siblings}))
    }

    /// Small files at once; large ones elsewhere, where the token must not come.
    fn resolve(&mut self, request: &Request, repository: &str, rest: &str) -> Answer {
        let (revision, path) = rest.split_once('/').unwrap();
        let path = path.replace("%20", " ");
        let Some(files) = self.repositories.get(repository) else {
            return Answer::refusal(404, "Repository not found");
        };
        assert_eq!(revision, commit(files), "downloads are of a commit");
        let Some(contents) = files.get(&path).cloned() else {
            return Answer::refusal(404, "Entry not found");
        };
        if contents.len() >= LARGE && !request.path.starts_with("/store/") {
            let digits = sha256(&contents);
            self.storage.insert(digits.clone(), contents);
            let mut answer = Answer::new(302, "");
            let port = request.headers["host"]
                .rsplit(':')
                .next()
                .unwrap()
                .to_owned();
            // Another host's name for the same server.
            let place = format!(
                "http://localhost:{port}/store/{digits}?path={}",
                path.replace(' ', "%20")
            );
            answer.headers.push(("location".to_owned(), place));
            return answer;
        }
        self.download(request, &path, contents)
    }

    fn download(&mut self, request: &Request, path: &str, mut contents: Vec<u8>) -> Answer {
        if self.changed.as_deref() == Some(path) {
            contents[0] ^= 1;
        }
        let range = request
            .headers
            .get("range")
            .filter(|_| !self.without_ranges);
        let start = range.map(|range| range.trim_start_matches("bytes=").trim_end_matches('-'));
        let start: usize = start.map_or(0, |start| start.parse().unwrap());
        let size = contents.len();
        if start >= size {
            return Answer::refusal(416, "range");
        }
        let mut answer = Answer::new(if range.is_some() { 206 } else { 200 }, &contents[start..]);
        if range.is_some() {
            let value = format!("bytes {start}-{}/{size}", size - 1);
            answer.headers.push(("content-range".to_owned(), value));
        }
        if let Some((bytes, times)) = self
            .cut
            .filter(|(bytes, times)| *times > 0 && *bytes < answer.sent)
        {
            answer.sent = answer.sent.min(bytes);
            self.cut = Some((bytes, times - 1));
        }
        answer
    }

    /// The storage: downloads, uploads whole and in parts.
    fn store(&mut self, request: &Request, address: &str) -> Answer {
        let foreign = request
            .headers
            .get("host")
            .is_some_and(|host| host.starts_with("localhost"));
        assert!(
            !foreign || !request.headers.contains_key("authorization"),
            "the token went elsewhere"
        );
        match request.method.as_str() {
            "GET" => {
                let path = request
                    .path
                    .rsplit("path=")
                    .next()
                    .unwrap()
                    .replace("%20", " ");
                let contents = self.storage[address].clone();
                self.download(request, &path, contents)
            }
            "PUT" if address.starts_with("part/") => {
                self.parts.insert(address.to_owned(), request.body.clone());
                let mut answer = Answer::new(200, "");
                answer
                    .headers
                    .push(("etag".to_owned(), format!("\"{}\"", sha256(&request.body))));
                answer
            }
            "PUT" => {
                assert_eq!(sha256(&request.body), address);
                self.storage
                    .insert(address.to_owned(), request.body.clone());
                Answer::new(200, "")
            }
            _ => {
                let oid = address.trim_start_matches("complete/");
                let json: Value = serde_json::from_slice(&request.body).unwrap();
                let mut whole = Vec::new();
                for part in json["parts"].as_array().unwrap() {
                    let bytes = &self.parts[&format!("part/{oid}/{}", part["partNumber"])];
                    assert_eq!(part["etag"], format!("\"{}\"", sha256(bytes)));
                    whole.extend_from_slice(bytes);
                }
                assert_eq!(sha256(&whole), oid);
                self.storage.insert(oid.to_owned(), whole);
                Answer::json(&json!({}))
            }
        }
    }

    fn batch(&self, json: &Value, endpoint: &str) -> Answer {
        let objects = json["objects"].as_array().unwrap().iter().map(|object| {
            let oid = object["oid"].as_str().unwrap();
            if self.storage.contains_key(oid) {
                return json!({"oid": oid, "size": object["size"]});
            }
            let upload = if self.in_parts {
                let size = object["size"].as_u64().unwrap() as usize;
                let mut header = json!({"chunk_size": PART.to_string()});
                for number in 1..=size.div_ceil(PART) {
                    header[format!("{number:05}")] =
                        json!(format!("{endpoint}/store/part/{oid}/{number}"));
                }
                json!({"href": format!("{endpoint}/store/complete/{oid}"), "header": header})
            } else {
                json!({"href": format!("{endpoint}/store/{oid}"), "header": {"x-amz": "1"}})
            };
            json!({"oid": oid, "size": object["size"], "actions": {"upload": upload}})
        });
        let objects: Vec<_> = objects.collect();
        Answer::json(&json!({"transfer": "basic", "objects": objects}))
    }

    fn commit(&mut self, repository: &str, body: &[u8]) -> Answer {
        let text = std::str::from_utf8(body).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<_> = lines.collect();
        assert!(lines[0]["key"] == "header" && lines[0]["value"]["summary"].is_string());
        for line in &lines[1..] {
            let value = &line["value"];
            let contents = if line["key"] == "lfsFile" {
                let Some(contents) = self.storage.get(value["oid"].as_str().unwrap()) else {
                    return Answer::refusal(400, "a file is not in the storage");
                };
                contents.clone()
            } else {
                STANDARD.decode(value["content"].as_str().unwrap()).unwrap()
            };
            let files = self.repositories.get_mut(repository).unwrap();
            files.insert(value["path"].as_str().unwrap().to_owned(), contents);
        }
        let oid = commit(&self.repositories[repository]);
        Answer::json(&json!({"success": true, "commitOid": oid, "commitUrl": "somewhere"}))
    }
}

fn preupload(json: &Value) -> Answer {
    let files = json["files"].as_array().unwrap().iter().map(|file| {
        let size = file["size"].as_u64().unwrap() as usize;
        let sample = STANDARD.decode(file["sample"].as_str().unwrap()).unwrap();
        assert_eq!(sample.len(), size.min(512));
        let path = file["path"].as_str().unwrap();
        json!({
            "path": path,
            "uploadMode": if size >= LARGE { "lfs" } else { "regular" },
            "shouldIgnore": path.ends_with(".ignored"),
        })
    });
    let files: Vec<_> = files.collect();
    Answer::json(&json!({"files": files}))
}

/// A name for what a repository holds.
fn commit(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hasher = Sha1::new();
    for (path, contents) in files {
        hasher.update(format!("{path} {}\n", blob(contents)));
    }
    hexadecimal(&hasher.finalize())
}

fn blob(contents: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", contents.len()));
    hasher.update(contents);
    hexadecimal(&hasher.finalize())
}

fn sha256(contents: &[u8]) -> String {
    hexadecimal(&Sha256::digest(contents))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
