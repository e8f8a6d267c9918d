/** Starts Swagger UI on the receiver's own description. */

declare const SwaggerUIBundle: (options: Record<string, unknown>) => void;

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // Its badge asks a service on the internet.
  validatorUrl: null,
});
