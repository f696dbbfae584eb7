/* What a page can do better with JavaScript; without it everything still works, with a whole page for each answer.
   Password keys, files in the page's language, keys that are at work, count-downs, the dialog, toasts, and a word when the events of the machine stop or come back. */
(() => {
  "use strict";
  const page = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const each = (root, selector, work) => root.querySelectorAll(selector).forEach(work);

  /** Says a sentence to those who do not see the screen. */
  function say(sentence) {
    const place = byId("said");
    if (!place) return;
    place.textContent = "";
    setTimeout(() => { place.textContent = sentence; }, 50);
  }

  // --- passwords: a key that shows what is typed ---
  function togglePassword(key) {
    const input = byId(key.dataset.shows);
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    key.setAttribute("aria-pressed", String(shown));
    input.focus();
  }

  // --- files: the browser's own key speaks the browser's language ---
  function showPicker(label) {
    label.hidden = label.nextElementSibling.hidden = false;
    byId(label.htmlFor).classList.add("unseen");
  }
  document.addEventListener("change", ({ target }) => {
    if (target.type !== "file" || !target.files.length) return;
    target.parentElement.querySelector(".picked").textContent = [...target.files].map((file) => file.name).join(", ");
  });

  // --- a key that was pressed is at work until the answer is there; a second press would ask twice ---
  document.addEventListener("submit", (event) => {
    const key = event.submitter;
    if (!key || event.defaultPrevented) return;
    if (key.getAttribute("aria-busy") === "true") event.preventDefault();
    else key.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () => each(document, "[aria-busy=true]", (key) => key.removeAttribute("aria-busy")));

  // --- count-downs: <p data-until="ISO time" data-over-text="..."> with a <time> inside ---
  function count() {
    each(document, "[data-until]:not([data-over])", (element) => {
      const left = Math.ceil((Date.parse(element.dataset.until) - Date.now()) / 1000);
      if (left > 0) {
        const minutes = Math.floor(left / 60);
        const place = element.querySelector("time"), text = `${minutes}:${String(left % 60).padStart(2, "0")}`;
        if (place.textContent !== text) place.textContent = text;
        element.toggleAttribute("data-soon", left <= 60);
        return;
      }
      element.removeAttribute("data-soon");
      element.setAttribute("data-over", "");
      element.querySelector("span").textContent = element.dataset.overText;
      say(element.dataset.overText);
      element.dispatchEvent(new CustomEvent("valija:over", { bubbles: true }));
    });
  }

  // --- toasts: go after 12 seconds, or when their key is pressed; wrong news stay ---
  function startToast(toast) {
    if (toast.dataset.started) return;
    toast.dataset.started = "yes";
    each(toast, "[data-dismiss]", (key) => { key.hidden = false; });
    if (!toast.classList.contains("bad")) setTimeout(() => toast.remove(), 12000);
  }

  // --- the dialog: open while it has something in it ---
  function followDialog(dialog) {
    const follow = () => {
      const filled = dialog.childElementCount > 0;
      if (filled && !dialog.open) dialog.showModal();
      if (!filled && dialog.open) dialog.close();
    };
    new MutationObserver(follow).observe(dialog, { childList: true });
    dialog.addEventListener("close", () => dialog.replaceChildren());
    follow();
  }

  // --- new content, from the start or from htmx ---
  function prepare(root) {
    each(root, "[data-shows], [data-print]", (key) => { key.hidden = false; });
    each(root, ".picker", showPicker);
    each(root, "[data-toast]", startToast);
  }

  document.addEventListener("click", (event) => {
    const key = event.target.closest("[data-shows], [data-dismiss], [data-close], [data-print]");
    if (!key) return;
    if ("print" in key.dataset) return void print();
    if (key.dataset.shows) togglePassword(key);
    else if ("dismiss" in key.dataset) key.closest(".message").remove();
    else if (byId("dialog")?.contains(key)) {
      event.preventDefault();
      byId("dialog").close();
    }
  });

  // --- the machine's events: htmx connects again by itself; here it is said, and the page asked to look again ---
  let lost = null;
  function lose() {
    if (lost || document.hidden) return;
    lost = document.createElement("div");
    lost.className = "message warn";
    lost.textContent = document.body.dataset.lost;
    byId("toasts")?.append(lost);
    say(document.body.dataset.lost);
  }
  function find() {
    if (!lost) return;
    lost.remove();
    lost = null;
    say(document.body.dataset.back);
    document.body.dispatchEvent(new CustomEvent("valija:again"));
  }
  document.addEventListener("htmx:sse:error", lose);
  document.addEventListener("htmx:sse:after:connection", find);

  prepare(document);
  const dialog = byId("dialog");
  if (dialog) followDialog(dialog);
  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const node of change.addedNodes) if (node.nodeType === 1 && node.parentElement) prepare(node.parentElement);
    }
    count(); // a part that came anew has the moment, not the time left
  }).observe(document.body, { childList: true, subtree: true });
  count();
  setInterval(count, 1000);
  page.dataset.script = "on";
})();
