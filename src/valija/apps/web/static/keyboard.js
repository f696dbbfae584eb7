/* The on-screen keyboard of the panel: rows as on a phone, in the language of the page. simple-keyboard draws the keys; typing is done here, at the caret of
   the field in focus, so that it behaves as typing does (input events, maxlength, accents). Switched by the key in the top bar; the choice is remembered. */
(() => {
  "use strict";
  const page = document.documentElement;
  const dock = document.getElementById("keyboard");
  const switchKey = document.getElementById("keyboard-key");
  const Keyboard = window.SimpleKeyboard?.default;
  if (!dock || !Keyboard) return;

  const REMEMBERED = "valija.keyboard";
  const TYPED = "input:is([type=text], [type=password]):not([readonly]), textarea";
  const spanish = page.lang.startsWith("es");
  const tall = window.matchMedia("(min-height: 560px)").matches;
  const digits = "1 2 3 4 5 6 7 8 9 0";
  const middle = spanish ? "a s d f g h j k l \u00f1" : "a s d f g h j k l '";
  const accent = spanish ? " \u00b4" : "";
  const letters = (tall ? [digits + " {bksp}"] : []).concat([
    tall ? "q w e r t y u i o p" : "q w e r t y u i o p {bksp}",
    middle + " {enter}",
    `{shift} z x c v b n m${accent} @ .`,
    "{signs} - _ {space} {left} {right} {done}",
  ]);
  const signs = [
    digits + " {bksp}",
    ...(tall ? ["\u00e1 \u00e9 \u00ed \u00f3 \u00fa \u00fc \u00f1 \u00e0 \u00e8 \u00e7 \u00b7"] : []),
    "! \" # $ % & / ( ) = ?",
    spanish ? "\u00a1 \u00bf + * [ ] { } \u00e7 \u00a8 |" : "+ * [ ] { } < > ~ ` |",
    "{letters} \\ : ; , {space} ' ^ \u20ac {done}",
  ];
  const layout = {
    letters,
    capitals: letters.map((row) => row.split(" ").map((key) => (key.length === 1 ? key.toUpperCase() : key)).join(" ")),
    signs,
    numbers: ["1 2 3", "4 5 6", "7 8 9", "{bksp} 0 {done}"],
  };
  const display = {
    "{bksp}": "\u232b", "{enter}": "\u21b5", "{shift}": "\u21e7", "{space}": dock.dataset.space, "{left}": "\u25c0", "{right}": "\u25b6",
    "{signs}": "123#", "{letters}": "abc", "{done}": dock.dataset.done,
  };
  const COMBINING = { "\u00b4": "\u0301", "\u00a8": "\u0308" };

  let keyboard = null;
  let field = null;
  let waitingAccent = "";
  let released = null;
  let pressing = false;
  let leaving = false;

  function show(name) {
    if (!keyboard) {
      keyboard = new Keyboard(dock, {
        layout, display, layoutName: name, theme: "hg-theme-valija", onKeyPress: press, physicalKeyboardHighlight: false,
        preventMouseDownDefault: true, preventMouseUpDefault: true, disableCaretPositioning: true, mergeDisplay: true, disableButtonHold: false,
      });
    }
    keyboard.setOptions({ layoutName: name });
  }

  /** Puts text at the caret, as a person's typing would. */
  function type(text) {
    const [from, to] = [field.selectionStart, field.selectionEnd];
    const room = field.maxLength < 0 ? Infinity : field.maxLength - field.value.length + (to - from);
    if (text.length > room) return;
    field.setRangeText(text, from, to, "end");
    changed();
  }

  function erase() {
    const [from, to] = [field.selectionStart, field.selectionEnd];
    if (from === 0 && to === 0) return;
    field.setRangeText("", from === to ? from - 1 : from, to, "end");
    changed();
  }

  function changed() {
    field.dispatchEvent(new InputEvent("input", { bubbles: true }));
  }

  function move(step) {
    const place = Math.max(0, Math.min(field.value.length, (step < 0 ? field.selectionStart : field.selectionEnd) + step));
    field.setSelectionRange(place, place);
  }

  function letter(key) {
    let text = waitingAccent ? (key + COMBINING[waitingAccent]).normalize("NFC") : key;
    if (waitingAccent && text.length > 1) text = key;
    waitingAccent = "";
    if (key in COMBINING) waitingAccent = key;
    else type(text);
    if (keyboard.options.layoutName === "capitals") keyboard.setOptions({ layoutName: "letters" });
  }

  function enter() {
    if (field.tagName === "TEXTAREA") return type("\n");
    field.dispatchEvent(new Event("change", { bubbles: true }));
    const form = field.form;
    hide();
    form?.requestSubmit();
  }

  function press(key) {
    if (!field) return;
    const name = keyboard.options.layoutName;
    switch (key) {
      case "{bksp}": return erase();
      case "{space}": return letter(" ");
      case "{left}": return move(-1);
      case "{right}": return move(1);
      case "{shift}": return keyboard.setOptions({ layoutName: name === "capitals" ? "letters" : "capitals" });
      case "{signs}": return keyboard.setOptions({ layoutName: "signs" });
      case "{letters}": return keyboard.setOptions({ layoutName: "letters" });
      case "{enter}": return atRelease(enter);
      case "{done}": return atRelease(hide);
      default: return letter(key);
    }
  }

  /** Does work when the finger has left the keyboard: hidden earlier, what lies below would get the click. */
  function atRelease(work) {
    released = work;
  }

  function release() {
    const work = released;
    released = null;
    if (work && field) work();
  }

  function leave() {
    if (pressing) leaving = true;
    else hide();
  }

  function hide() {
    leaving = false;
    dock.hidden = true;
    document.body.append(dock);
    document.body.classList.remove("typing");
    document.body.style.paddingBottom = "";
    page.style.scrollPadding = "";
    if (field) field.dispatchEvent(new Event("change", { bubbles: true }));
    field = null;
  }

  function attend(input) {
    if (page.dataset.keyboard !== "on") return;
    field = input;
    leaving = false;
    waitingAccent = "";
    dock.hidden = false;
    // the keyboard belongs to the dialog while one is open: nothing outside it can be pressed then
    (input.closest("dialog") || document.body).append(dock);
    show(input.inputMode === "numeric" ? "numbers" : "letters");
    document.body.classList.add("typing");
    document.body.style.paddingBottom = `${dock.offsetHeight}px`;
    page.style.scrollPadding = `8px 0 ${dock.offsetHeight + 8}px`;
    (input.closest(".row") || input).scrollIntoView({ block: "center" });
  }

  function setSwitch(on) {
    page.dataset.keyboard = on ? "on" : "off";
    switchKey?.setAttribute("aria-pressed", String(on));
    if (!on) hide();
  }

  function remembered() {
    try { return localStorage.getItem(REMEMBERED); } catch { return null; }
  }
  function remember(value) {
    try { localStorage.setItem(REMEMBERED, value); } catch { /* a browser without memory forgets it */ }
  }

  setSwitch((remembered() || page.dataset.keyboard) === "on");
  if (switchKey) {
    switchKey.hidden = false;
    switchKey.addEventListener("click", () => {
      const on = page.dataset.keyboard !== "on";
      setSwitch(on);
      remember(on ? "on" : "off");
    });
  }
  dock.addEventListener("click", release);
  document.addEventListener("pointercancel", () => { released = null; lift(); });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches?.(TYPED)) attend(event.target);
    else if (!dock.hidden && !dock.contains(event.target)) leave();
  });
  // a key that is being pressed must not move away under the finger: the keyboard goes when the press is over
  document.addEventListener("pointerdown", () => { pressing = true; }, true);
  function lift() {
    pressing = false;
    if (leaving) setTimeout(() => { if (leaving && !pressing) hide(); }, 80);  // not under the next press either
  }
  document.addEventListener("pointerup", lift, true);
  document.addEventListener("click", (event) => {
    if (event.target.matches?.(TYPED) && dock.hidden) attend(event.target);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !dock.hidden) hide();
  });
  if (document.activeElement?.matches?.(TYPED)) attend(document.activeElement);
})();
