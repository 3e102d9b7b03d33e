// A form does not leave the page: its fields, and the data of the form, are sent as one event.
element.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  trigger("submit", { form: { ...form.dataset, ...Object.fromEntries(new FormData(form)) } });
});
// What was filled in belongs to the content that it was filled into.
watch("value", () => element.querySelectorAll("form").forEach((form) => form.reset()));
