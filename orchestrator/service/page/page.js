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

  // The state that a replacement must not destroy. Read once: each read after a change would cost a layout.
  const readUse = () => {
    const selection = getSelection();
    return { focused: document.activeElement, selected: selection.isCollapsed ? null : selection.anchorNode };
  };

  // A part with typed text or with selected text stays as it is, until the person has finished.
  const isInUse = (part, { focused, selected }) =>
    (focused.matches("input, select, textarea") && part.contains(focused)) || part.contains(selected);

  const readPlaces = (part, { focused }) => ({
    focus: part.contains(focused) ? [...part.querySelectorAll(selector)].indexOf(focused) : -1,
    scroll: [...part.querySelectorAll(scrolled)].map((each) => [each.scrollLeft, each.scrollTop]),
    open: [...part.querySelectorAll("details")].map((each) => each.open),
  });

  const restore = (part, { focus, scroll, open }) => {
    part.querySelectorAll(scrolled).forEach((each, at) => {
      if (scroll[at]) [each.scrollLeft, each.scrollTop] = scroll[at];
    });
    part.querySelectorAll("details").forEach((each, at) => {
      if (at in open) each.open = open[at];
    });
    if (focus >= 0) part.querySelectorAll(selector)[focus]?.focus({ preventScroll: true });
  };

  const apply = () => {
    if (!waiting.size) return;
    const use = readUse();
    const changes = [];
    for (const [id, html] of waiting) {
      const old = document.getElementById(id);
      if (old && isInUse(old, use)) continue;
      waiting.delete(id);
      if (old) changes.push({ old, html, places: readPlaces(old, use) });
    }
    for (const change of changes) {
      const template = document.createElement("template");
      template.innerHTML = change.html;
      change.fresh = template.content.firstElementChild;
      change.old.replaceWith(change.fresh);
    }
    for (const { fresh, places } of changes) restore(fresh, places);
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
