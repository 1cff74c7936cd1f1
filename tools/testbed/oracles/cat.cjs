// Common Access Tokens by @eyevinn/cat, for the tests in oca-server/tests/serve/oracles.rs: reads a list of questions as
// JSON on standard input and writes the list of answers. {make: alg, claims} gives a token, {check: alg, token, url}
// gives "ok" or why not. Keys stand in the first question. The library makes no ES256 tokens that others can read: it signs the
// claims' hexadecimal digits, not the claims.
const { CAT } = require("@eyevinn/cat");
const { CommonAccessTokenFactory } = require("@eyevinn/cat/lib/cat");

const url64 = (text) => Buffer.from(text, "base64url");

async function make(keys, { make: alg, claims }) {
  const cat = new CAT({ keys: { s: url64(keys.secret) }, expectCwtTag: true });
  return cat.generateFromJson(claims, { type: "mac", alg, kid: "s" });
}

async function check(keys, { check: alg, token, url }) {
  const asked = { issuer: "a", url: new URL(url) };
  if (alg === "HS256") {
    const cat = new CAT({ keys: { s: url64(keys.secret) }, expectCwtTag: true });
    const { error } = await cat.validate(token, "mac", asked);
    return error ? error.name : "ok";
  }
  // This library reads a signature without the tag that says "a CWT" (RFC 8392 §6).
  const untagged = Buffer.from(token, "base64url").subarray(2).toString("base64");
  const { x, y } = keys.pair;
  const opened = await CommonAccessTokenFactory.fromSignedToken(untagged, { x: url64(x), y: url64(y) });
  return (await opened.isAcceptable(asked)) ? "ok" : "not acceptable";
}

async function main() {
  let text = "";
  for await (const piece of process.stdin) text += piece;
  const [keys, ...questions] = JSON.parse(text);
  const answers = [];
  for (const question of questions) {
    const answer = question.make ? make(keys, question) : check(keys, question);
    answers.push(await answer.catch((error) => error.name + ": " + error.message));
  }
  console.log(JSON.stringify(answers));
}

main();
