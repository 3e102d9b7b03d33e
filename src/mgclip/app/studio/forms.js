// A form does not leave the page: its fields, and the data of the form, are sent as one event.
let sent = -1; // the position of the form that was sent last, until the content changes
const formsOf = () => [...element.querySelectorAll("form")];
element.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  sent = formsOf().indexOf(form);
  trigger("submit", { form: { ...form.dataset, ...Object.fromEntries(new FormData(form)) } });
});
watch("value", () => {
  const forms = formsOf();
  // What was filled in belongs to the content that it was filled into.
  forms.forEach((form) => form.reset());
  // The new content closes or replaces the form that has the focus. The keyboard goes on at the form in its place, or at the last one.
  const focused = document.activeElement;
  const isLost = focused === document.body || (element.contains(focused) && !focused.checkVisibility());
  const next = sent >= 0 && isLost && (forms[sent] ?? forms.at(-1));
  if (next) (next.closest("details")?.querySelector("summary") ?? next.querySelector("button")).focus({ preventScroll: true });
  sent = -1;
});
