"""GLSL shaders of the renderer; `PAINT`, the procedural materials, is part of all of them."""

# Materials are in the order of `appearance.MATERIALS`.  Borders between garments are thresholds on coordinates that are
# interpolated over the body (along arm and leg, up the torso), so they are sharp at any resolution.
PAINT = """
const int SKIN = 0, TOP = 1, BOTTOM = 2, SHOES = 3, HAIR = 4, GLOVES = 5, INNER = 6, SOCKS = 7;
uniform vec4 base_colour[8];    // rgb, pattern kind
uniform vec4 second_colour[8];  // rgb, pattern scale (1/m)
uniform vec4 direction[8];      // of stripes and checks in rest space, phase
uniform vec4 finish[8];         // specular, wrinkle amplitude, looseness (m), grain
uniform float border[24];       // garment borders, see appearance.Borders
uniform vec3 eye_colour;
uniform vec3 lip_colour;
uniform vec3 face[4];           // left eye, right eye, mouth in rest space; head centre
uniform vec3 head_radius;
uniform float noise_seed;

float hash(vec3 p) {
    p = fract(p * 0.3183099 + vec3(0.1, 0.17, 0.13) + noise_seed);
    p *= 17.0;
    return fract(p.x * p.y * p.z * (p.x + p.y + p.z));
}

float value_noise(vec3 x) {
    vec3 i = floor(x), f = fract(x);
    f = f * f * (3.0 - 2.0 * f);
    return mix(mix(mix(hash(i), hash(i + vec3(1, 0, 0)), f.x),
                   mix(hash(i + vec3(0, 1, 0)), hash(i + vec3(1, 1, 0)), f.x), f.y),
               mix(mix(hash(i + vec3(0, 0, 1)), hash(i + vec3(1, 0, 1)), f.x),
                   mix(hash(i + vec3(0, 1, 1)), hash(i + vec3(1, 1, 1)), f.x), f.y), f.z);
}

// Gradient of value_noise, from the same eight corners.
vec3 noise_gradient(vec3 x) {
    vec3 i = floor(x), f = fract(x);
    vec3 u = f * f * (3.0 - 2.0 * f), du = 6.0 * f * (1.0 - f);
    float a = hash(i), b = hash(i + vec3(1, 0, 0)), c = hash(i + vec3(0, 1, 0)), d = hash(i + vec3(1, 1, 0));
    float e = hash(i + vec3(0, 0, 1)), g = hash(i + vec3(1, 0, 1)), h = hash(i + vec3(0, 1, 1)), k = hash(i + 1.0);
    vec3 slope = vec3(b - a, c - a, e - a);
    float xy = a - b - c + d, yz = a - c - e + h, zx = a - b - e + g, xyz = -a + b + c - d + e - g - h + k;
    return du * (slope + vec3(xy, yz, zx) * u.yzx + vec3(zx, xy, yz) * u.zxy + xyz * u.yzx * u.zxy);
}

// limb: x along the arm (0 shoulder, 1 elbow, 2 wrist), y along the leg (0 hip, 1 knee, 2 ankle),
//       z up the torso (0 hips, 1 neck), w 1 on the head.
int material(vec4 limb, vec3 rest) {
    vec3 n = normalize((rest - face[3]) / head_radius);
    if (limb.w > 0.5) {
        float line = n.z < 0.0 ? mix(border[11], border[10], smoothstep(0.0, 1.0, -n.z))
                               : mix(border[11], border[12], smoothstep(0.0, 0.6, n.z));
        if (n.y < line) return HAIR;
        if (border[14] > 0.0 && n.y > 0.95 - border[14] && n.z < 0.1
            && length(rest.xy - face[2].xy) > 0.024) return HAIR;
    }
    if (limb.w <= 0.5 && limb.x <= 0.3 && rest.z > face[3].z + border[16] && limb.z > border[13] && limb.z > 0.3
        && abs(rest.x) < 0.16) return HAIR;
    if (limb.x > border[9]) return GLOVES;
    if (limb.y > border[7]) return SHOES;
    if (limb.y > border[8]) return SOCKS;
    bool front = rest.z < face[3].z;
    float neckline = border[3] - (front ? max(0.0, border[4] - abs(rest.x - face[3].x) * border[15]) : 0.0);
    bool arm = limb.x > 0.0;
    if (limb.w <= 0.5 && (arm ? limb.x < border[0] : (limb.z > border[1] && limb.y < border[2] && limb.z < neckline))) {
        if (!arm && front && abs(rest.x - face[3].x) < border[17] * (0.5 + limb.z)) return INNER;
        return TOP;
    }
    if (!arm && limb.z < border[5] && limb.y < border[6]) return BOTTOM;
    return SKIN;
}

vec3 painted(int m, vec4 limb, vec3 rest) {
    vec3 first = base_colour[m].rgb, second = second_colour[m].rgb;
    int kind = int(base_colour[m].a + 0.5);
    float scale = second_colour[m].a;
    vec3 along = direction[m].xyz;
    float phase = direction[m].a;
    float s = dot(rest, along) * scale + phase;
    float mixing = 0.0;
    if (kind == 1) mixing = step(0.5, fract(s));
    else if (kind == 2) {
        float t = dot(rest, normalize(cross(along, vec3(0.1, 0.2, 1.0)))) * scale + phase;
        mixing = 0.5 * step(0.6, fract(s)) + 0.5 * step(0.6, fract(t));
    } else if (kind == 3) mixing = smoothstep(0.48, 0.56, value_noise(rest * scale * 1.5 + phase));
    else if (kind == 4) mixing = value_noise(rest * scale * 12.0) * 0.6 + value_noise(rest * scale * 4.0) * 0.4;
    else if (kind == 5) {  // a logo or print on the chest or the thigh
        vec2 q = (rest.xy - face[3].xy - vec2(along.x * 0.05, 0.38 + along.y * 0.06)) * vec2(1.0, 1.4) * scale * 0.45;
        mixing = max(abs(q.x), abs(q.y)) < 1.0 ? step(0.45, value_noise(vec3(q * 3.0, phase * 9.0))) : 0.0;
    } else if (kind == 6) mixing = step(phase, fract(limb.z + 0.3));  // colour blocks
    vec3 colour = mix(first, second, mixing);
    colour *= 1.0 + finish[m].a * (hash(floor(rest * vec3(160.0, 90.0, 160.0))) - 0.5);
    if (m == SKIN && limb.w > 0.5) {
        for (int i = 0; i < 2; i++) {
            vec2 d = (rest.xy - face[i].xy) / vec2(0.015, 0.008);
            if (rest.z < face[3].z && dot(d, d) < 1.0) colour = abs(d.x) < 0.42 ? eye_colour : vec3(0.85, 0.83, 0.81);
            vec2 b = (rest.xy - face[i].xy + vec2(0.0, 0.021)) / vec2(0.021, 0.0045);
            if (rest.z < face[3].z && dot(b, b) < 1.0) colour = mix(colour, base_colour[HAIR].rgb, 0.8);
        }
        vec2 d = (rest.xy - face[2].xy) / vec2(0.024, 0.009);
        if (rest.z < face[3].z && dot(d, d) < 1.0) colour = lip_colour;
    }
    return clamp(colour, 0.0, 1.0);
}
"""

# The offset of loose painted clothes; the image and the ground truth of the surface share it.
LOOSEN = """
uniform vec4 fold_mix;

float offset_of(vec4 folds, int m) {
    return finish[m].b * max(1.0 + dot(folds, fold_mix), 0.0);
}
"""

VERTEX = (
    """
#version 330
in vec3 position;
in vec3 normal;
in vec3 rest;
in vec4 limb;
in float region;
in vec4 folds;  // noise, zero mean
uniform vec4 camera;    // focal x, focal y in half image sizes, principal point in clip units
uniform vec2 depth_range;
out vec3 v_position;
out vec3 v_normal;
out vec3 v_rest;
out vec4 v_limb;
flat out float v_region;
"""
    + PAINT
    + LOOSEN
    + """
void main() {
    vec3 p = position + normal * offset_of(folds, material(limb, rest));
    v_position = p; v_normal = normal; v_rest = rest; v_limb = limb; v_region = region;
    float near = depth_range.x, far = depth_range.y;
    // Image rows and framebuffer rows both run downwards: no flip.
    gl_Position = vec4(p.x * camera.x + p.z * camera.z, p.y * camera.y + p.z * camera.w,
                       (p.z * (far + near) - 2.0 * far * near) / (far - near), p.z);
}
"""
)

# Where the second number of a pixel's truth has 1 + person, region, material and normal; 0 is the background.
TRUTH_BITS = {"person": 25, "region": 20, "material": 16, "normal": 0}

FRAGMENT = (
    """
#version 330
in vec3 v_position;
in vec3 v_normal;
in vec3 v_rest;
in vec4 v_limb;
flat in float v_region;
uniform vec3 light_direction[3];
uniform vec3 light_colour[3];
uniform vec3 sky_colour;
uniform vec3 ground_colour;
uniform vec3 up;
uniform float instance;
layout(location = 0) out vec4 colour;
layout(location = 1) out uvec2 truth;  // camera depth (m) as bits; person, region, material, normal, see TRUTH_BITS
"""
    + PAINT
    + """
void main() {
    int m = material(v_limb, v_rest);
    vec3 albedo = painted(m, v_limb, v_rest);
    albedo *= albedo;  // approximates the conversion from sRGB to linear light
    float wrinkle = finish[m].g;
    // Back faces are visible inside sleeves and skirts.
    vec3 outward = normalize(gl_FrontFacing ? v_normal : -v_normal);
    vec3 n = outward;
    if (wrinkle > 0.0) n = normalize(n + 0.35 * wrinkle * noise_gradient(v_rest * vec3(22.0, 13.0, 22.0) + 7.0));
    vec3 view = normalize(-v_position);
    float upness = dot(n, up) * 0.5 + 0.5;
    // Cheap approximation of ambient occlusion: surfaces at grazing angles receive less ambient light.
    float open_sky = 0.72 + 0.28 * smoothstep(0.0, 0.45, abs(dot(outward, view)));
    vec3 shade = mix(ground_colour, sky_colour, upness) * open_sky;
    vec3 gloss = vec3(0.0);
    for (int i = 0; i < 3; i++) {
        float lambert = max(dot(n, light_direction[i]), 0.0);
        shade += light_colour[i] * lambert;
        gloss += light_colour[i] * pow(max(dot(n, normalize(light_direction[i] + view)), 0.0), 24.0);
    }
    vec3 linear = albedo * shade + gloss * finish[m].r;
    colour = vec4(sqrt(clamp(linear, 0.0, 1.0)), 1.0);
    // The normal as a point of the unfolded octahedron, 8 bits each way (Meyer et al. 2010).
    vec2 flat_normal = outward.xy / (abs(outward.x) + abs(outward.y) + abs(outward.z));
    vec2 sides = vec2(flat_normal.x < 0.0 ? -1.0 : 1.0, flat_normal.y < 0.0 ? -1.0 : 1.0);
    if (outward.z > 0.0) flat_normal = (1.0 - abs(flat_normal.yx)) * sides;
    uvec2 folded = uvec2(round((flat_normal * 0.5 + 0.5) * 255.0));
    uint what = uint(1.0 + instance) << 25 | uint(v_region) << 20 | uint(m) << 16 | folded.x << 8 | folded.y;
    truth = uvec2(floatBitsToUint(v_position.z), what);
}
"""
)

# Transform feedback over vertices: the offset of loose painted clothes and the material, independent of shape and pose.
LOOSENESS = (
    """
#version 330
in vec3 rest;
in vec4 limb;
in vec4 folds;
out vec2 looseness;  // metres, material
"""
    + PAINT
    + LOOSEN
    + """
void main() {
    int m = material(limb, rest);
    looseness = vec2(offset_of(folds, m), float(m));
    gl_Position = vec4(0.0);
}
"""
)
