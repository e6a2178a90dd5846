"use strict";
// A very small shop. What matters here is the five calls to heliograph: page, identify and track, as in Segment's spec.
const PRODUCTS = [
  ["85123A", "White Hanging Heart T-Light Holder", 2.95, "Candles", "H", "#f7e4d7"],
  ["22423", "Regency Cake Stand, Three Tiers", 12.75, "Kitchen", "R", "#f3dfe6"],
  ["47566", "Party Bunting", 4.95, "Party", "P", "#dfeaf3"],
  ["84879", "Assorted Colour Bird Ornament", 1.69, "Decoration", "B", "#e2efdf"],
  ["22086", "Paper Chain Kit, 50s Christmas", 2.95, "Christmas", "C", "#dcebe2"],
  ["22960", "Jam Making Set with Jars", 4.25, "Kitchen", "J", "#f6dcdc"],
  ["23084", "Rabbit Night Light", 2.08, "Children", "N", "#ece6f5"],
  ["22457", "Natural Slate Heart Chalkboard", 2.95, "Decoration", "S", "#e6e4e0"],
].map(([product_id, name, price, category, picture, colour]) => ({ product_id, name, price, category, picture, colour }));
const byId = (id) => document.getElementById(id);
const pounds = (value) => "£" + value.toFixed(2);
const basket = [];
let cartId = localStorage.getItem("shop_cart") || newCart();

function newCart() {
  const id = "cart-" + Math.random().toString(36).slice(2, 10);
  localStorage.setItem("shop_cart", id);
  return id;
}

function tell(method, ...args) {
  window.heliograph[method](...args);
  const li = document.createElement("li");
  li.textContent = `${method} ${typeof args[0] === "string" ? args[0] : ""}`;
  byId("told").prepend(li);
}

const properties = (product) => ({
  product_id: product.product_id, name: product.name, price: product.price, category: product.category, currency: "GBP",
  url: `${location.origin}${location.pathname}?product=${product.product_id}`,
});

function show(product) {
  byId("picture").textContent = product.picture;
  byId("picture").style.background = product.colour;
  byId("detail-name").textContent = product.name;
  byId("detail-price").textContent = pounds(product.price);
  byId("detail").onclose = () => { if (byId("detail").returnValue === "add") add(product); };
  byId("detail").returnValue = "";
  byId("detail").showModal();
  tell("track", "Product Viewed", properties(product));
}

function add(product) {
  basket.push(product);
  drawBasket();
  tell("track", "Product Added", { ...properties(product), quantity: 1, cart_id: cartId });
}

function total() { return Math.round(basket.reduce((sum, product) => sum + product.price, 0) * 100) / 100; }

function drawBasket() {
  byId("basket").replaceChildren(...basket.map((product) => {
    const li = document.createElement("li");
    li.textContent = `${product.name}  ${pounds(product.price)}`;
    return li;
  }));
  byId("sum").textContent = basket.length ? `Total ${pounds(total())}` : "Empty";
  byId("order").disabled = !basket.length;
}

byId("order").addEventListener("click", () => {
  const order_id = "order-" + Math.random().toString(36).slice(2, 10);
  tell("track", "Order Completed", {
    order_id, cart_id: cartId, total: total(), currency: "GBP",
    products: basket.map((product) => ({ ...properties(product), quantity: 1 })),
  });
  basket.length = 0;
  cartId = newCart();
  drawBasket();
});

byId("sign-up").addEventListener("submit", (event) => {
  event.preventDefault();
  const email = byId("email").value.trim(), firstName = byId("name").value.trim();
  tell("identify", "shop-" + email.toLowerCase(), { email, firstName, timezone: Intl.DateTimeFormat().resolvedOptions().timeZone },
    { context: { consent: { categoryPreferences: { offers: byId("offers").checked, news: byId("offers").checked } } } });
  tell("track", "Signed Up", { method: "form" });
  byId("sign-up").hidden = true;
  byId("hello").hidden = false;
  byId("hello").textContent = `Hello ${firstName}`;
});

byId("products").append(...PRODUCTS.map((product) => {
  const button = document.createElement("button");
  button.className = "product";
  button.dataset.sku = product.product_id;
  const picture = document.createElement("div"), name = document.createElement("strong"), price = document.createElement("span");
  picture.className = "picture";
  picture.textContent = product.picture;
  picture.style.background = product.colour;
  name.textContent = product.name;
  price.textContent = pounds(product.price);
  button.append(picture, name, price);
  button.addEventListener("click", () => show(product));
  return button;
}));

const asked = PRODUCTS.find((product) => product.product_id === new URLSearchParams(location.search).get("product"));
if (asked) show(asked);
drawBasket();
