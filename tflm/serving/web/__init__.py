"""The chat page that the embedded server can give: plain HTML, CSS and JavaScript modules, no build step."""
