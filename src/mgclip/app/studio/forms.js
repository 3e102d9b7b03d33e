// A form does not leave the page: its fields, and the data of the form, are sent as one event.
element.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  trigger("submit", { form: { ...form.dataset, ...Object.fromEntries(new FormData(form)) } });
});
