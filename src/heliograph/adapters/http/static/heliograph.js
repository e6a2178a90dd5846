/* Heliograph for web pages: load, track, identify, page, group, alias, reset.  Segment's spec, no dependency.
 *
 *   <script>
 *   !function(w,d,n){var h=w[n]=w[n]||[];if(h.load)return;["track","identify","page","alias","group","reset"].forEach(function(m){h[m]=function(){h.push([m].concat([].slice.call(arguments)))}});
 *   h.load=function(k,o){h._k=k;h._o=o||{};var s=d.createElement("script");s.async=1;s.src=(h._o.host||"")+"/heliograph.js";d.head.appendChild(s)}}(window,document,"heliograph");
 *   heliograph.load("WRITE KEY", {host: "https://heliograph.example"});
 *   heliograph.page();
 *   </script>
 *
 * Calls made before this file has arrived are waiting in that array.  Events leave at once, one request at a time; what
 * gathers meanwhile goes together.  What could not be sent is kept in localStorage and tried again, also on the next
 * page; message ids make a repeat harmless.
 */
(function (w, d) {
  "use strict";
  var MAX_KEPT = 500, MAX_BATCH = 50, MAX_BYTES = 50000, MAX_WAIT = 60000;
  var early = w.heliograph || [];
  if (early.version) return;
  var script = d.currentScript;
  var origin = script && script.src ? script.src.replace(/^(\w+:\/\/[^/]+).*$/, "$1") : "";
  var key = null, host = origin, queue = [], flying = 0, failures = 0, timer = null, memory = {};

  function read(name) {
    try { return w.localStorage.getItem("heliograph_" + name); } catch (e) { return memory[name] || null; }
  }
  function keep(name, value) {
    memory[name] = value;
    try {
      if (value === null) w.localStorage.removeItem("heliograph_" + name);
      else w.localStorage.setItem("heliograph_" + name, value);
    } catch (e) { /* private mode, full disk: this page's memory has to do */ }
  }
  function id() {
    if (w.crypto && w.crypto.randomUUID) return w.crypto.randomUUID();
    var bytes = w.crypto.getRandomValues(new Uint8Array(16)), text = "";
    for (var i = 0; i < 16; i++) text += (bytes[i] + 256).toString(16).slice(1);
    return text;
  }
  function anonymousId() {
    var known = read("anonymous_id");
    if (!known) keep("anonymous_id", known = id());
    return known;
  }
  function merge(base, more) {
    var name, out = {};
    for (name in base) out[name] = base[name];
    for (name in more || {}) out[name] = more[name];
    return out;
  }
  function zone() {
    try { return Intl.DateTimeFormat().resolvedOptions().timeZone; } catch (e) { return undefined; }
  }
  function here() {
    return { path: w.location.pathname, referrer: d.referrer, search: w.location.search, title: d.title, url: w.location.href };
  }
  function add(call, options) {
    options = options || {};
    call.messageId = id();
    call.timestamp = new Date().toISOString();
    call.anonymousId = options.anonymousId || anonymousId();
    call.userId = call.userId || read("user_id") || undefined;
    call.context = merge({
      library: { name: "heliograph.js", version: api.version },
      page: here(), userAgent: w.navigator.userAgent, locale: w.navigator.language, timezone: zone()
    }, options.context);
    queue.push(call);
    if (queue.length > MAX_KEPT) queue.shift();
    send();
  }

  function pack(calls) {
    return JSON.stringify({ writeKey: key, sentAt: new Date().toISOString(), batch: calls });
  }
  function next() {
    var count = 0, bytes = 0;
    while (count < queue.length && count < MAX_BATCH) {
      bytes += 3 * JSON.stringify(queue[count]).length;
      if (count && bytes > 3 * MAX_BYTES) break;
      count++;
    }
    return queue.slice(0, count);
  }
  function later() {
    var wait = Math.min(MAX_WAIT, 500 * Math.pow(2, failures++)) * (0.5 + Math.random() / 2);
    clearTimeout(timer);
    timer = setTimeout(function () { timer = null; send(); }, wait);
    keep("queue", JSON.stringify(queue));
  }
  function send() {
    if (!key || flying || timer || !queue.length) return;
    var calls = next();
    flying = calls.length;
    // text/plain is a simple request: no preflight, so an event costs one round trip.
    w.fetch(host + "/v1/b", { method: "POST", body: pack(calls), keepalive: true, credentials: "omit",
      headers: { "Content-Type": "text/plain" } }).then(function (answer) {
      flying = 0;
      if (answer.status === 408 || answer.status === 429 || answer.status >= 500) return later();
      if (!answer.ok && w.console) w.console.warn("heliograph: refused with " + answer.status);
      queue = queue.slice(calls.length);
      failures = 0;
      keep("queue", queue.length ? JSON.stringify(queue) : null);
      send();
    }, function () { flying = 0; later(); });
  }
  function leave() {
    var waiting = queue.slice(flying);
    if (!key || !waiting.length) return;
    if (w.navigator.sendBeacon && w.navigator.sendBeacon(host + "/v1/b", new Blob([pack(waiting)], { type: "text/plain" })))
      queue = queue.slice(0, flying);
    else keep("queue", JSON.stringify(waiting));
  }

  var api = {
    version: "1",
    load: function (writeKey, options) {
      if (key) return;
      key = writeKey;
      host = ((options || {}).host || origin).replace(/\/+$/, "");
      try { queue = JSON.parse(read("queue") || "[]").concat(queue); } catch (e) { /* somebody else's value */ }
      keep("queue", null);
      send();
    },
    track: function (event, properties, options) {
      add({ type: "track", event: event, properties: properties || {} }, options);
    },
    identify: function (userId, traits, options) {
      if (userId && typeof userId === "object") { options = traits; traits = userId; userId = null; }
      if (userId) {
        if (read("user_id") && read("user_id") !== String(userId)) api.reset();
        keep("user_id", String(userId));
      }
      add({ type: "identify", traits: traits || {} }, options);
    },
    page: function (category, name, properties, options) {
      if (typeof category === "object") { options = name; properties = category; category = name = undefined; }
      else if (typeof name !== "string") { options = properties; properties = name; name = category; category = undefined; }
      add({ type: "page", name: name, category: category, properties: merge(here(), properties) }, options);
    },
    group: function (groupId, traits, options) {
      add({ type: "group", groupId: groupId, traits: traits || {} }, options);
    },
    alias: function (userId, previousId, options) {
      var before = previousId || read("user_id") || anonymousId();
      keep("user_id", String(userId));
      add({ type: "alias", userId: String(userId), previousId: before }, options);
    },
    reset: function () { keep("user_id", null); keep("anonymous_id", null); },
    user: function () { return { id: read("user_id"), anonymousId: anonymousId() }; }
  };
  w.heliograph = api;
  w.addEventListener("pagehide", leave);
  d.addEventListener("visibilitychange", function () { if (d.visibilityState === "hidden") leave(); });
  w.addEventListener("online", function () { clearTimeout(timer); timer = null; failures = 0; send(); });
  if (early._k) api.load(early._k, early._o);
  for (var i = 0; i < early.length; i++) if (api[early[i][0]]) api[early[i][0]].apply(api, early[i].slice(1));
})(window, document);
