// Screen readers say what the content marks as heard, each time it changes, and not all of it, which can be long.
const heard = document.createElement("p");
heard.className = "heard";
heard.setAttribute("role", "status");
element.after(heard);
watch("value", () => {
  heard.textContent = [...element.querySelectorAll("[data-heard]")].map((each) => each.textContent).join(": ");
});
