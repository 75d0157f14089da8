"use strict";
// Replaces the changed parts of a page. Without this script the page tells the same, as of its loading.
(() => {
  const main = document.getElementById("main");
  const live = document.getElementById("live");
  const address = new URL(main.dataset.events, location.href);
  const waiting = new Map();
  const selector = "a, button, input, select, summary, [tabindex]";
  const scrolled = ".scroll";
  let source = null;
  let leaving = false;

  const say = (text) => {
    if (live.textContent !== text) live.textContent = text;
  };

  // A part with typed text or with selected text stays as it is, until the person has finished.
  const isInUse = (part) => {
    const focused = document.activeElement;
    if (part.contains(focused) && focused.matches("input, select, textarea")) return true;
    const selection = getSelection();
    return !selection.isCollapsed && part.contains(selection.anchorNode);
  };

  const replace = (old, html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    const fresh = template.content.firstElementChild;
    const focused = old.contains(document.activeElement)
      ? [...old.querySelectorAll(selector)].indexOf(document.activeElement)
      : -1;
    const places = [...old.querySelectorAll(scrolled)].map((each) => [each.scrollLeft, each.scrollTop]);
    const open = [...old.querySelectorAll("details")].map((each) => each.open);
    old.replaceWith(fresh);
    [...fresh.querySelectorAll(scrolled)].forEach((each, at) => {
      if (places[at]) [each.scrollLeft, each.scrollTop] = places[at];
    });
    [...fresh.querySelectorAll("details")].forEach((each, at) => {
      if (at in open) each.open = open[at];
    });
    if (focused >= 0) fresh.querySelectorAll(selector)[focused]?.focus({ preventScroll: true });
  };

  const apply = () => {
    for (const [id, html] of waiting) {
      const old = document.getElementById(id);
      if (old && isInUse(old)) continue;
      waiting.delete(id);
      if (old) replace(old, html);
    }
  };

  const connect = () => {
    source = new EventSource(address);
    source.onopen = () => say("Live.");
    source.onmessage = (event) => {
      for (const [id, html] of Object.entries(JSON.parse(event.data).parts)) waiting.set(id, html);
      if (event.lastEventId) address.searchParams.set("after", event.lastEventId);
      apply();
    };
    source.addEventListener("outdated", () => {
      leaving = true;
      source.close();
      setTimeout(() => location.reload(), Math.random() * 500);
    });
    source.onerror = () => {
      if (leaving) return;
      say("The connection is lost; trying again.");
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
    };
  };

  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) connect();
  });
  setInterval(apply, 1000);
  connect();
})();
