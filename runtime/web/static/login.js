"use strict";
document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = document.getElementById("token").value;
  const answer = await fetch("/login", { method: "POST", body: token });
  if (answer.ok) location.replace("/");
  else document.getElementById("answer").textContent = await answer.text();
});
